// SPDX-License-Identifier: Apache-2.0
#include "host/setting_changes.h"

#include <fcntl.h>

#include <format>
#include <ranges>

#include "base/log.h"
#include "host/system.h"

namespace masque {
namespace {

constexpr std::string_view kSettings = "/proc/sys/net/";

}  // namespace

SettingChanges::SettingChanges(std::string note) : note_(std::move(note)) {
  recall();
  put_back();
}

Result<std::string, SysError> SettingChanges::read(const std::string& file) {
  TRY(std::string text, sys::read_file(file));
  while (!text.empty() && (text.back() == '\n' || text.back() == ' ')) text.pop_back();
  return text;
}

Result<void, SysError> SettingChanges::change(const std::string& file, const std::string& to) {
  TRY(std::string before, read(file));
  if (before == to) return {};
  changes_.push_back({.file = file, .before = std::move(before), .now = to});
  write_note();  // first: a crash in between costs nothing
  return sys::write_file(file, to);
}

// Without it only a crash leaves changes behind, so a directory that cannot be written is no fault.
void SettingChanges::write_note() const {
  if (note_.empty()) return;
  std::string text;
  for (const Change& change : changes_) {
    text += std::format("{} {} {}\n", change.file, change.before, change.now);
  }
  auto done = sys::open(note_, O_WRONLY | O_CREAT | O_NOFOLLOW, 0600).transform([](const auto&) {});
  if (done) done = sys::write_file(note_, text);
  if (!done) log_debug("setting.no_note", {{"error", done.error().message()}});
}

void SettingChanges::recall() {
  if (note_.empty()) return;
  const std::string text = sys::read_file(note_).value_or("");
  for (const auto line : text | std::views::split('\n')) {
    std::vector<std::string> words;
    for (const auto word : line | std::views::split(' '))
      words.emplace_back(word.begin(), word.end());
    if (words.size() != 3 || !words[0].starts_with(kSettings) || words[0].contains("..")) continue;
    changes_.push_back({.file = words[0], .before = words[1], .now = words[2]});
  }
}

void SettingChanges::put_back() {
  for (const Change& change : changes_ | std::views::reverse) {
    const auto now = read(change.file);
    if (!now || *now != change.now) continue;  // gone, or somebody else decided meanwhile
    if (const auto done = sys::write_file(change.file, change.before); !done) {
      log_warn("setting.restore_failed", {{"error", done.error().message()}});
    }
  }
  changes_.clear();
  if (!note_.empty()) (void)sys::unlink(note_);
}

}  // namespace masque
