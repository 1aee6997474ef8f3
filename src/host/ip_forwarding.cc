// SPDX-License-Identifier: Apache-2.0
#include "host/ip_forwarding.h"

#include <fcntl.h>

#include <filesystem>
#include <format>
#include <ranges>
#include <system_error>

#include "base/log.h"
#include "host/system.h"

namespace masque {
namespace {

constexpr std::string_view kSettings = "/proc/sys/net/";
constexpr const char* kIpv6Settings = "/proc/sys/net/ipv6/conf";

const char* file_of(IpVersion family) {
  return family == IpVersion::V4 ? "/proc/sys/net/ipv4/ip_forward"
                                 : "/proc/sys/net/ipv6/conf/all/forwarding";
}

std::string trimmed(std::string text) {
  while (!text.empty() && (text.back() == '\n' || text.back() == ' ')) text.pop_back();
  return text;
}

}  // namespace

Result<bool, SysError> IpForwarding::enabled(IpVersion family) {
  TRY(const std::string text, sys::read_file(file_of(family)));
  return trimmed(text) != "0";
}

Result<void, SysError> IpForwarding::change(const std::string& file, const std::string& to) {
  TRY(const std::string before, sys::read_file(file));
  changes_.push_back({.file = file, .before = trimmed(before), .now = to});
  write_note();  // first: a crash in between costs nothing
  return sys::write_file(file, to);
}

// Without it only a crash leaves changes behind, so a directory that cannot be written is no fault.
void IpForwarding::write_note() const {
  if (note_.empty()) return;
  std::string text;
  for (const Change& change : changes_) {
    text += std::format("{} {} {}\n", change.file, change.before, change.now);
  }
  auto done = sys::open(note_, O_WRONLY | O_CREAT | O_NOFOLLOW, 0600).transform([](const auto&) {});
  if (done) done = sys::write_file(note_, text);
  if (!done) log_debug("forwarding.no_note", {{"error", done.error().message()}});
}

void IpForwarding::recall() {
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

Result<void, SysError> IpForwarding::keep_accepting_router_advertisements() {
  std::error_code error;
  std::vector<std::string> files;
  for (const auto& entry : std::filesystem::directory_iterator(kIpv6Settings, error)) {
    files.push_back(entry.path().string() + "/accept_ra");
  }
  for (const std::string& file : files) {
    const auto now = sys::read_file(file);
    if (now && trimmed(*now) == "1") TRY_VOID(change(file, "2"));
  }
  return {};
}

Result<IpForwarding, SysError> IpForwarding::enable(const std::vector<IpVersion>& families,
                                                    std::string note) {
  IpForwarding forwarding;  // an error on the way puts back what was changed
  forwarding.note_ = std::move(note);
  forwarding.recall();
  forwarding.put_back();
  for (const IpVersion family : families) {
    TRY(const bool on, enabled(family));
    if (on) continue;
    const std::string file = file_of(family);
    auto done = family == IpVersion::V6 ? forwarding.keep_accepting_router_advertisements()
                                        : Result<void, SysError>();
    if (done) done = forwarding.change(file, "1");
    if (!done) {
      return sys::failure(done.error().code, std::format("switch on IPv{} forwarding ({})",
                                                         static_cast<int>(family), file));
    }
  }
  return forwarding;
}

IpForwarding::~IpForwarding() { put_back(); }

void IpForwarding::put_back() {
  for (const Change& change : changes_ | std::views::reverse) {
    const auto now = sys::read_file(change.file);
    if (!now || trimmed(*now) != change.now) continue;  // gone, or somebody else decided meanwhile
    if (const auto done = sys::write_file(change.file, change.before); !done) {
      log_warn("forwarding.restore_failed", {{"error", done.error().message()}});
    }
  }
  changes_.clear();
  if (!note_.empty()) (void)sys::unlink(note_);
}

}  // namespace masque
