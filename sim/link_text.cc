// SPDX-License-Identifier: Apache-2.0
#include "sim/link_text.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <format>
#include <optional>
#include <utility>

#include "base/result.h"
#include "sim/link_profiles.h"

namespace masque {

namespace {

constexpr Duration kDurationMax = std::chrono::hours(24);
constexpr Duration kDelayMax = 60s;
constexpr uint64_t kRateMin = 1'000;
constexpr uint64_t kRateMax = 100'000'000'000;
constexpr size_t kSizeMax = 256 * 1024 * 1024;
constexpr size_t kMtuMin = 68;
constexpr size_t kMtuMax = 65'535;
constexpr Duration kWalkIntervalMin = 100us;
constexpr double kBurstMeanMax = 1000;
constexpr size_t kOutagesMax = 64;

struct Unit {
  std::string_view name;
  double factor;
};

std::unexpected<std::string> wrong(std::string_view text, std::string_view wanted) {
  return std::unexpected(std::format("'{}' is not {}", text, wanted));
}

// A number that is not negative, and a unit of the list. A unit named "" may be left out.
std::optional<double> parse_amount(std::string_view text, std::span<const Unit> units) {
  double number = 0;
  const auto [rest, error] =
      std::from_chars(text.data(), text.data() + text.size(), number, std::chars_format::fixed);
  if (error != std::errc() || !(number >= 0)) return std::nullopt;
  text.remove_prefix(static_cast<size_t>(rest - text.data()));
  const auto unit = std::ranges::find(units, text, &Unit::name);
  if (unit == units.end()) return std::nullopt;
  return number * unit->factor;
}

// Splits at the first `mark`; nullopt when there is none.
std::optional<std::pair<std::string_view, std::string_view>> split(std::string_view text,
                                                                   char mark) {
  const size_t at = text.find(mark);
  if (at == std::string_view::npos) return std::nullopt;
  return std::pair(text.substr(0, at), text.substr(at + 1));
}

std::expected<Duration, std::string> parse_delay(std::string_view text) {
  TRY(const Duration value, parse_duration(text));
  if (value > kDelayMax) return wrong(text, "at most 60s");
  return value;
}

TextResult set_rate(LinkPlan& plan, std::string_view value) {
  plan.options.trace = nullptr;
  if (value == "none") {
    plan.options.rate_bits_per_second = 0;
    return {};
  }
  TRY(plan.options.rate_bits_per_second, parse_rate(value));
  return {};
}

TextResult set_queue(LinkPlan& plan, std::string_view value) {
  if (const auto time = parse_delay(value); time && *time > Duration::zero()) {
    plan.options.queue_time_max = *time;
    return {};
  }
  const auto bytes = parse_size(value);
  if (!bytes) return wrong(value, "a time of at most 60s such as 100ms or a size such as 64kB");
  plan.options.queue_bytes_max = *bytes;
  plan.options.queue_time_max = Duration::zero();
  return {};
}

TextResult set_delay(LinkPlan& plan, std::string_view value) {
  TRY(plan.options.delay, parse_delay(value));
  return {};
}

TextResult set_walk(LinkPlan& plan, std::string_view value) {
  LinkOptions& options = plan.options;
  const auto first = split(value, '/');
  TRY(options.walk_width, parse_delay(first ? first->first : value));
  options.walk_start = options.walk_width / 2;
  if (!first) return {};
  const auto second = split(first->second, '/');
  TRY(options.walk_step, parse_delay(second ? second->first : first->second));
  if (!second) return {};
  TRY(options.walk_interval, parse_delay(second->second));
  if (options.walk_interval < kWalkIntervalMin) {
    return wrong(second->second, "an interval of at least 100us");
  }
  return {};
}

TextResult set_jitter(LinkPlan& plan, std::string_view value) {
  TRY(plan.options.jitter, parse_delay(value));
  return {};
}

TextResult set_order(LinkPlan& plan, std::string_view value) {
  if (value != "kept" && value != "free") return wrong(value, "'kept' or 'free'");
  plan.options.order = value == "kept" ? LinkOptions::Order::Kept : LinkOptions::Order::Free;
  return {};
}

TextResult set_loss(LinkPlan& plan, std::string_view value) {
  TRY(plan.options.loss_ppm, parse_share(value));
  return {};
}

TextResult set_burst(LinkPlan& plan, std::string_view value) {
  if (value == "none") {
    plan.options.burst_enter_ppm = 0;
    return {};
  }
  constexpr std::array kCount = {Unit{"", 1}};
  constexpr uint32_t kShareMax = kPpm / 2;
  const auto parts = split(value, ':');
  const auto mean = parts ? parse_amount(parts->first, kCount) : std::nullopt;
  if (!mean || *mean < 1 || *mean > kBurstMeanMax) {
    return wrong(value, "MEAN:SHARE such as 3:2% with a mean of 1 to 1000, or 'none'");
  }
  TRY(const uint32_t share, parse_share(parts->second));
  if (share > kShareMax) return wrong(parts->second, "a share of at most 50%");
  plan.options.burst_leave_ppm = static_cast<uint32_t>(std::lround(kPpm / *mean));
  plan.options.burst_enter_ppm = burst_enter_ppm(share, plan.options.burst_leave_ppm);
  return {};
}

TextResult set_duplicate(LinkPlan& plan, std::string_view value) {
  TRY(plan.options.duplicate_ppm, parse_share(value));
  return {};
}

TextResult set_corrupt(LinkPlan& plan, std::string_view value) {
  TRY(plan.options.corrupt_ppm, parse_share(value));
  return {};
}

TextResult set_mtu(LinkPlan& plan, std::string_view value) {
  const auto size = parse_size(value);
  if (!size || *size < kMtuMin || *size > kMtuMax) return wrong(value, "68 to 65535 bytes");
  plan.options.mtu = *size;
  return {};
}

TextResult set_blackhole(LinkPlan& plan, std::string_view value) {
  if (value == "on" || value == "off") {
    plan.options.path = value == "on" ? LinkOptions::Path::Blackhole : LinkOptions::Path::Open;
    return {};
  }
  const auto parts = split(value, '@');
  if (!parts) return wrong(value, "on, off or LENGTH@START[/EVERY] such as 5s@10s");
  LinkOutage outage;
  TRY(outage.length, parse_duration(parts->first));
  const auto times = split(parts->second, '/');
  TRY(outage.at, parse_duration(times ? times->first : parts->second));
  if (times) {
    TRY(outage.every, parse_duration(times->second));
    if (outage.every <= outage.length) return wrong(value, "shorter than the time it comes again");
  }
  if (plan.outages.size() == kOutagesMax)
    return std::unexpected("more than 64 times in a direction");
  plan.outages.push_back(outage);
  return {};
}

TextResult set_police(LinkPlan& plan, std::string_view value) {
  if (value == "none") {
    plan.options.police_bits_per_second = 0;
    return {};
  }
  const auto parts = split(value, ':');
  if (!parts) return wrong(value, "RATE:BURST such as 10mbit:64kB, or 'none'");
  TRY(plan.options.police_bits_per_second, parse_rate(parts->first));
  TRY(plan.options.police_burst_bytes, parse_size(parts->second));
  return {};
}

constexpr std::array kKeys = {
    LinkKey{"rate", "RATE", "bit rate, as 50mbit, 300kbit; 'none' is no limit", set_rate},
    LinkKey{"queue", "TIME|SIZE", "what may wait for the rate, as 100ms or 64kB; then tail drop",
            set_queue},
    LinkKey{"delay", "TIME", "one-way delay", set_delay},
    LinkKey{"walk", "WIDTH[/STEP[/EVERY]]",
            "the delay wanders within [delay, delay + WIDTH], by at most STEP each EVERY",
            set_walk},
    LinkKey{"jitter", "TIME", "further delay of each packet, even in [0, TIME]", set_jitter},
    LinkKey{"order", "kept|free", "whether jitter may reorder packets", set_order},
    LinkKey{"loss", "SHARE", "independent loss, as 2%", set_loss},
    LinkKey{"burst", "MEAN:SHARE",
            "Gilbert-Elliott loss of SHARE in bursts of MEAN packets, as 3:2%; 'none'", set_burst},
    LinkKey{"duplicate", "SHARE", "packets that come twice", set_duplicate},
    LinkKey{"corrupt", "SHARE", "packets of which some bits are flipped", set_corrupt},
    LinkKey{"mtu", "BYTES", "larger IP packets vanish without a word", set_mtu},
    LinkKey{"blackhole", "on|off|LENGTH@START[/EVERY]",
            "nothing passes: always, or for LENGTH from START on, again each EVERY; repeatable",
            set_blackhole},
    LinkKey{"police", "RATE:BURST", "token bucket that drops, as 10mbit:64kB; 'none'", set_police},
};

}  // namespace

std::span<const LinkKey> link_keys() { return kKeys; }

const LinkKey* find_link_key(std::string_view name) {
  const auto found = std::ranges::find(kKeys, name, &LinkKey::name);
  return found == kKeys.end() ? nullptr : &*found;
}

std::expected<Duration, std::string> parse_duration(std::string_view text) {
  constexpr std::array kUnits = {Unit{"ms", 1e6}, Unit{"s", 1e9}, Unit{"us", 1e3}, Unit{"m", 6e10}};
  if (text == "0") return Duration::zero();
  const auto amount = parse_amount(text, kUnits);
  if (!amount || *amount > static_cast<double>(kDurationMax.count())) {
    return wrong(text, "a time such as 25ms, 1.5s, 200us or 2m");
  }
  return Duration(std::llround(*amount));
}

std::expected<uint64_t, std::string> parse_rate(std::string_view text) {
  constexpr std::array kUnits = {Unit{"mbit", 1e6}, Unit{"kbit", 1e3}, Unit{"gbit", 1e9},
                                 Unit{"bit", 1}, Unit{"", 1}};
  const auto amount = parse_amount(text, kUnits);
  if (!amount || *amount < static_cast<double>(kRateMin) ||
      *amount > static_cast<double>(kRateMax)) {
    return wrong(text, "a rate from 1kbit to 100gbit such as 50mbit");
  }
  return static_cast<uint64_t>(*amount);
}

std::expected<size_t, std::string> parse_size(std::string_view text) {
  constexpr std::array kUnits = {Unit{"", 1},       Unit{"B", 1},    Unit{"kB", 1e3},
                                 Unit{"KiB", 1024}, Unit{"MB", 1e6}, Unit{"MiB", 1024 * 1024}};
  const auto amount = parse_amount(text, kUnits);
  if (!amount || *amount > static_cast<double>(kSizeMax)) {
    return wrong(text, "a size of at most 256MiB such as 1500, 64kB or 1MiB");
  }
  return static_cast<size_t>(*amount);
}

std::expected<uint32_t, std::string> parse_share(std::string_view text) {
  constexpr std::array kUnits = {Unit{"%", kPpm / 100.0}, Unit{"ppm", 1}};
  const auto amount = parse_amount(text, kUnits);
  if (!amount || *amount > kPpm) return wrong(text, "a share from 0% to 100% such as 2%");
  return static_cast<uint32_t>(std::lround(*amount));
}

}  // namespace masque
