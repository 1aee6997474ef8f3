// SPDX-License-Identifier: Apache-2.0
#include "linkemu/settings.h"

#include <fcntl.h>

#include <algorithm>
#include <charconv>
#include <format>
#include <optional>
#include <span>
#include <string_view>

#include "base/bytes.h"
#include "base/result.h"
#include "core/ip/socket_address.h"
#include "host/system.h"
#include "linkemu/packet_io.h"
#include "sim/link_profiles.h"
#include "sim/link_text.h"

namespace masque::linkemu {

namespace {

constexpr size_t kTraceFileMax = 128 * 1024 * 1024;
constexpr size_t kPacketsLimit = 4'000'000;
constexpr size_t kFlowsLimit = 100'000;
constexpr Duration kPrecisionMax = 10ms;
constexpr Duration kIntervalMin = 10ms;

using Outcome = std::expected<void, std::string>;
using Plans = std::array<LinkPlan, 2>;  // by Direction

enum class Sides : uint8_t { Both, Up, Down };

// `up-rate` is the key `rate` of one direction.
struct Target {
  Sides sides = Sides::Both;
  std::string_view key;
};

Target target_of(std::string_view name) {
  if (name.starts_with("up-")) return {.sides = Sides::Up, .key = name.substr(3)};
  if (name.starts_with("down-")) return {.sides = Sides::Down, .key = name.substr(5)};
  return {.key = name};
}

bool includes(Sides sides, Direction direction) {
  return sides == Sides::Both || (sides == Sides::Up) == (direction == Direction::Up);
}

std::expected<std::string, std::string> file_text(const std::string& path) {
  const auto file = sys::open(path, O_RDONLY);
  if (!file) return std::unexpected(file.error().message());
  std::string text;
  std::vector<uint8_t> part(65'536);
  while (text.size() <= kTraceFileMax) {
    const auto count = sys::read(file->get(), part);
    if (!count) return std::unexpected(path + ": " + count.error().message());
    if (*count == 0) return text;
    text += as_text(Bytes(part).first(*count));
  }
  return std::unexpected(std::format("{}: more than {} bytes", path, kTraceFileMax));
}

std::expected<uint64_t, std::string> number(std::string_view text, uint64_t least, uint64_t most) {
  uint64_t value = 0;
  const auto [rest, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || rest != text.data() + text.size() || value < least || value > most) {
    return std::unexpected(std::format("'{}' is not a number from {} to {}", text, least, most));
  }
  return value;
}

class Parser {
 public:
  explicit Parser(std::span<char*> words) : words_(words) {}

  std::expected<Settings, std::string> parse();

 private:
  // An option of the link, kept until all are read: profiles come first, changes last.
  struct LinkOption {
    std::string name;
    std::string value;
  };
  struct ChangeOptions {
    Duration at{};
    std::vector<LinkOption> options;
  };

  Outcome mode();
  Outcome check_places(size_t count) const;
  Outcome option(std::string_view word);
  Outcome change(std::string_view name);
  Outcome own_option(std::string_view name, std::string_view value, bool& known);
  std::optional<std::string_view> next() {
    if (words_.empty()) return std::nullopt;
    const std::string_view word = words_.front();
    words_ = words_.subspan(1);
    return word;
  }

  Outcome assemble();
  Outcome apply(const LinkOption& option, Plans& plans);
  Outcome apply_profile(const LinkOption& option, const Target& target, Plans& plans);
  Outcome apply_trace(const LinkOption& option, const Target& target, Plans& plans);
  Outcome apply_change(const ChangeOptions& change);

  std::span<char*> words_;
  Settings settings_;
  std::vector<LinkOption> options_;
  std::vector<ChangeOptions> changes_;
};

Outcome Parser::mode() {
  const auto word = next();
  if (!word)
    return std::unexpected("a command is missing: bridge, relay, profiles, completion or man");
  if (*word == "--help" || *word == "-h" || *word == "help") {
    settings_.mode = Mode::Help;
  } else if (*word == "--version") {
    settings_.mode = Mode::Version;
  } else if (*word == "profiles") {
    settings_.mode = Mode::Profiles;
  } else if (*word == "man") {
    settings_.mode = Mode::Man;
  } else if (*word == "completion") {
    settings_.mode = Mode::Completion;
  } else if (*word == "bridge" || *word == "relay") {
    settings_.mode = *word == "bridge" ? Mode::Bridge : Mode::Relay;
  } else {
    return std::unexpected(std::format("no such command: '{}'", *word));
  }
  return {};
}

std::expected<Settings, std::string> Parser::parse() {
  TRY_VOID(mode());
  size_t places = 0;
  while (const auto word = next()) {
    if (*word == "--help" || *word == "-h") {
      settings_.mode = Mode::Help;
      return std::move(settings_);
    }
    if (word->starts_with("--")) {
      TRY_VOID(option(word->substr(2)));
    } else if (places < settings_.places.size()) {
      settings_.places[places++] = *word;
    } else {
      return std::unexpected(std::format("one word too many: '{}'", *word));
    }
  }
  TRY_VOID(check_places(places));
  TRY_VOID(assemble());
  return std::move(settings_);
}

Outcome Parser::check_places(size_t count) const {
  switch (settings_.mode) {
    case Mode::Bridge:
      if (count < 2) return std::unexpected("bridge wants two interfaces");
      break;
    case Mode::Relay:
      if (count < 2) return std::unexpected("relay wants LISTEN_ADDR:PORT and TARGET_ADDR:PORT");
      for (const std::string& place : settings_.places) {
        if (SocketAddress::parse(place)) continue;
        return std::unexpected(std::format(
            "'{}' is not an address such as 192.0.2.1:443 or [2001:db8::1]:443", place));
      }
      break;
    case Mode::Completion:
      if (count != 1) return std::unexpected("completion wants one of bash, zsh, fish");
      break;
    case Mode::Profiles:
    case Mode::Man:
    case Mode::Help:
    case Mode::Version:
      if (count > 0) return std::unexpected("this command takes no names");
      break;
  }
  return {};
}

Outcome Parser::option(std::string_view word) {
  const size_t equals = word.find('=');
  const std::string_view name = word.substr(0, equals);
  if (name == "json") {
    settings_.output = Output::Json;
    return {};
  }
  const Target target = target_of(name);
  if (target.key == "at" && equals == std::string_view::npos) return change(name);
  const auto value =
      equals == std::string_view::npos ? next() : std::optional(word.substr(equals + 1));
  if (!value) return std::unexpected(std::format("--{} wants a value", name));
  bool known = true;
  if (auto done = own_option(name, *value, known); !done) {
    return std::unexpected(std::format("--{}: {}", name, done.error()));
  }
  if (known) return {};
  if (target.key != "profile" && target.key != "trace" && !find_link_key(target.key)) {
    return std::unexpected(std::format("no such option: --{}", name));
  }
  options_.push_back({.name = std::string(name), .value = std::string(*value)});
  return {};
}

// --at TIME KEY=VALUE[,KEY=VALUE]...
Outcome Parser::change(std::string_view name) {
  const auto time = next();
  if (!time) return std::unexpected(std::format("--{} wants a time and KEY=VALUE", name));
  const auto at = parse_duration(*time);
  if (!at) return std::unexpected(std::format("--{}: {}", name, at.error()));
  ChangeOptions change{.at = *at, .options = {}};
  const std::string_view prefix = name.substr(0, name.size() - 2);  // "up-", "down-" or ""
  while (!words_.empty() && !std::string_view(words_.front()).starts_with("--")) {
    std::string_view rest = words_.front();
    if (rest.find('=') == std::string_view::npos) break;
    words_ = words_.subspan(1);
    while (!rest.empty()) {
      const std::string_view part = rest.substr(0, rest.find(','));
      rest.remove_prefix(std::min(part.size() + 1, rest.size()));
      const size_t equals = part.find('=');
      const Target target = target_of(part.substr(0, equals));
      if (equals == std::string_view::npos || target.key == "at" ||
          (target.key != "profile" && target.key != "trace" && !find_link_key(target.key))) {
        return std::unexpected(std::format("--{}: '{}' sets no option of a link", name, part));
      }
      if (!prefix.empty() && target.sides != Sides::Both) {
        return std::unexpected(std::format("--{}: '{}' names a direction again", name, part));
      }
      // --up-at is --at with its direction before each key.
      change.options.push_back({.name = std::string(prefix) + std::string(part.substr(0, equals)),
                                .value = std::string(part.substr(equals + 1))});
    }
  }
  if (change.options.empty()) return std::unexpected(std::format("--{} wants KEY=VALUE", name));
  changes_.push_back(std::move(change));
  return {};
}

Outcome Parser::own_option(std::string_view name, std::string_view value, bool& known) {
  if (name == "seed") {
    TRY(settings_.seed, number(value, 0, UINT32_MAX));
  } else if (name == "packets-max") {
    TRY(settings_.packets_max, number(value, 16, kPacketsLimit));
  } else if (name == "flows-max") {
    TRY(settings_.flows_max, number(value, 1, kFlowsLimit));
  } else if (name == "run-for") {
    TRY(settings_.run_for, parse_duration(value));
  } else if (name == "interval") {
    TRY(settings_.interval, parse_duration(value));
    if (settings_.interval < kIntervalMin) return std::unexpected("less than 10ms");
  } else if (name == "precision") {
    TRY(settings_.precision, parse_duration(value));
    if (settings_.precision > kPrecisionMax) return std::unexpected("more than 10ms");
  } else if (name == "priority") {
    if (value != "realtime" && value != "ordinary") {
      return std::unexpected(std::format("'{}' is not 'realtime' or 'ordinary'", value));
    }
    settings_.priority = value == "realtime" ? Priority::Realtime : Priority::Ordinary;
  } else if (name == "stats-file") {
    settings_.stats_file = value;
  } else {
    known = false;
  }
  return {};
}

Outcome Parser::assemble() {
  const LinkProfile* clean = find_link_profile("clean");
  settings_.plans = {clean->up, clean->down};
  // A profile sets everything, so it goes first wherever it stands.
  for (const LinkOption& entry : options_) {
    if (target_of(entry.name).key == "profile") TRY_VOID(apply(entry, settings_.plans));
  }
  for (const LinkOption& entry : options_) {
    if (target_of(entry.name).key != "profile") TRY_VOID(apply(entry, settings_.plans));
  }
  std::ranges::stable_sort(changes_, {}, &ChangeOptions::at);
  for (const ChangeOptions& entry : changes_) TRY_VOID(apply_change(entry));
  return {};
}

Outcome Parser::apply(const LinkOption& option, Plans& plans) {
  const Target target = target_of(option.name);
  Outcome done;
  if (target.key == "profile") {
    done = apply_profile(option, target, plans);
  } else if (target.key == "trace") {
    done = apply_trace(option, target, plans);
  } else {
    const LinkKey* key = find_link_key(target.key);
    for (const Direction direction : {Direction::Up, Direction::Down}) {
      if (!includes(target.sides, direction)) continue;
      if (done = key->set(plans[static_cast<size_t>(direction)], option.value); !done) break;
    }
  }
  if (!done) return std::unexpected(std::format("--{}: {}", option.name, done.error()));
  return {};
}

Outcome Parser::apply_profile(const LinkOption& option, const Target& target, Plans& plans) {
  const LinkProfile* profile = find_link_profile(option.value);
  if (profile == nullptr) {
    return std::unexpected(
        std::format("no such profile: '{}' (masque-linkemu profiles lists them)", option.value));
  }
  for (const Direction direction : {Direction::Up, Direction::Down}) {
    if (!includes(target.sides, direction)) continue;
    plans[static_cast<size_t>(direction)] =
        direction == Direction::Up ? profile->up : profile->down;
    if (&plans == &settings_.plans) {
      settings_.profiles[static_cast<size_t>(direction)] = profile->name;
    }
  }
  return {};
}

Outcome Parser::apply_trace(const LinkOption& option, const Target& target, Plans& plans) {
  const std::string& path = option.value;
  TRY(const std::string text, file_text(path));
  auto trace = LinkTrace::parse(text);
  if (!trace) return std::unexpected(path + ": " + trace.error());
  settings_.traces.push_back(std::make_unique<LinkTrace>(std::move(*trace)));
  for (const Direction direction : {Direction::Up, Direction::Down}) {
    if (!includes(target.sides, direction)) continue;
    plans[static_cast<size_t>(direction)].options.trace = settings_.traces.back().get();
  }
  return {};
}

// Works on plans that hold the options of this moment; what changed becomes a LinkChange.
Outcome Parser::apply_change(const ChangeOptions& change) {
  Plans then;
  for (size_t i = 0; i < then.size(); ++i) {
    const LinkPlan& plan = settings_.plans[i];
    then[i].options = plan.changes.empty() ? plan.options : plan.changes.back().options;
  }
  for (const LinkOption& entry : change.options) TRY_VOID(apply(entry, then));
  for (size_t i = 0; i < then.size(); ++i) {
    // A profile brings outages of its own; their times count from the start all the same.
    auto& outages = settings_.plans[i].outages;
    outages.insert(outages.end(), then[i].outages.begin(), then[i].outages.end());
    settings_.plans[i].changes.push_back({.at = change.at, .options = then[i].options});
  }
  return {};
}

}  // namespace

std::expected<Settings, std::string> parse_arguments(int argc, char** argv) {
  return Parser(std::span(argv, static_cast<size_t>(argc)).subspan(1)).parse();
}

}  // namespace masque::linkemu
