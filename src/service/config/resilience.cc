// SPDX-License-Identifier: Apache-2.0
#include "service/config/resilience.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <format>

#include "service/config/reader.h"

namespace masque {

namespace {

constexpr int64_t kAddedDelayMin = 10;  // ms; less than the jitter of any radio link
constexpr int64_t kAddedDelayMax = 500;
constexpr int64_t kQueueTargetMin = 5;  // ms
constexpr int64_t kQueueTargetMax = 200;
constexpr int64_t kWindowMin = 4;        // symbols
constexpr int64_t kRateMax = 1'000'000;  // kbit/s
constexpr unsigned kCodePoints = 64;     // of DSCP, RFC 2474 3

constexpr auto kModes =
    std::to_array<NamedChoice<ResilienceMode>>({{"auto", ResilienceMode::Auto},
                                                {"off", ResilienceMode::Off},
                                                {"calls", ResilienceMode::Calls},
                                                {"bulk", ResilienceMode::Bulk}});
constexpr auto kCodes =
    std::to_array<NamedChoice<ErasureCode>>({{"sliding-window", ErasureCode::SlidingWindow},
                                             {"reed-solomon", ErasureCode::ReedSolomon},
                                             {"xor", ErasureCode::Xor}});
constexpr auto kRecovered = std::to_array<NamedChoice<PathSettings::RecoveredAs>>(
    {{"intact", PathSettings::RecoveredAs::Intact}, {"marked", PathSettings::RecoveredAs::Marked}});

// Of all digits and nothing else, up to `max`.
std::optional<unsigned> parse_number(std::string_view text, unsigned max) {
  unsigned value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value > max) return std::nullopt;
  return value;
}

// "EF", "VA", "LE", "CS0".."CS7" and "AF11".."AF43" (RFC 4594 2, 5865, 8622), or a number.
std::optional<unsigned> parse_code_point(std::string_view text) {
  if (text == "EF") return 46;
  if (text == "VA") return 44;
  if (text == "LE") return 1;
  if (text.size() == 3 && text.starts_with("CS") && text[2] >= '0' && text[2] <= '7')
    return static_cast<unsigned>(text[2] - '0') * 8;
  if (text.size() == 4 && text.starts_with("AF") && text[2] >= '1' && text[2] <= '4' &&
      text[3] >= '1' && text[3] <= '3') {
    return static_cast<unsigned>(text[2] - '0') * 8 + static_cast<unsigned>(text[3] - '0') * 2;
  }
  return parse_number(text, kCodePoints - 1);
}

// "5060" or "16384-32767".
std::optional<ClassifierOptions::PortRange> parse_ports(std::string_view text) {
  constexpr unsigned kPortMax = 65'535;
  const size_t dash = text.find('-');
  const auto first = parse_number(text.substr(0, dash), kPortMax);
  const auto last =
      dash == std::string_view::npos ? first : parse_number(text.substr(dash + 1), kPortMax);
  if (!first || !last || *first == 0 || *last < *first) return std::nullopt;
  return ClassifierOptions::PortRange{.first = static_cast<uint16_t>(*first),
                                      .last = static_cast<uint16_t>(*last)};
}

void read_path(ConfigReader& reader, ResilienceConfig& config) {
  PathSettings& path = config.path;
  path.mode = reader.choice<ResilienceMode>("resilience.mode", kModes).value_or(path.mode);
  path.code = reader.choice<ErasureCode>("resilience.code", kCodes).value_or(path.code);
  path.recovered_as =
      reader.choice<PathSettings::RecoveredAs>("resilience.recovered_as", kRecovered)
          .value_or(path.recovered_as);
  if (const auto delay =
          reader.integer("resilience.max_added_delay_ms", kAddedDelayMin, kAddedDelayMax)) {
    path.realtime_budget = path.hold_max = config.release.allowance =
        std::chrono::milliseconds(delay->value);
  }
  if (const auto target =
          reader.integer("resilience.queue_target_ms", kQueueTargetMin, kQueueTargetMax)) {
    path.queue_target = std::chrono::milliseconds(target->value);
  }
  if (const auto window = reader.integer("resilience.window", kWindowMin, kRepairSourcesMax)) {
    path.window_max = static_cast<size_t>(window->value);
  }
  if (const auto shaper = reader.boolean("resilience.shaper"); shaper && !shaper->value) {
    path.shaper = PathSettings::Shaper::Off;
  }
  if (path.mode == ResilienceMode::Bulk) config.release.mode = ReleaseOptions::Mode::AtOnce;
}

void read_classifier(ConfigReader& reader, ClassifierOptions& classifier) {
  if (const auto names = reader.texts("resilience.realtime_dscp")) {
    classifier.realtime_dscp = 0;
    for (const auto& name : *names) {
      if (const auto code_point = parse_code_point(name.value)) {
        classifier.realtime_dscp |= uint64_t{1} << *code_point;
      } else {
        reader.error(name, std::format("\"{}\" is not a DSCP: write \"EF\", \"VA\", \"CS5\", "
                                       "\"AF41\" or a number of 0 to 63 in quotes",
                                       name.value));
      }
    }
    classifier.bulk_dscp &= ~classifier.realtime_dscp;
  }
  if (const auto ports = reader.texts("resilience.realtime_ports")) {
    for (const auto& text : *ports) {
      if (const auto range = parse_ports(text.value)) {
        classifier.realtime_ports.push_back(*range);
      } else {
        reader.error(text, std::format("\"{}\" is not a UDP port or a range of ports: write "
                                       "\"5060\" or \"16384-32767\"",
                                       text.value));
      }
    }
  }
  if (const auto rate = reader.integer("resilience.realtime_rate_max_kbit", 1, kRateMax)) {
    classifier.realtime_rate_max = static_cast<uint64_t>(rate->value) * 1000;
  }
  if (const auto rate = reader.integer("resilience.marked_rate_max_kbit", 1, kRateMax)) {
    classifier.marked_rate_max = static_cast<uint64_t>(rate->value) * 1000;
  }
}

}  // namespace

std::string_view to_string(ResilienceMode mode) {
  return std::ranges::find(kModes, mode, &NamedChoice<ResilienceMode>::value)->name;
}

ResilienceConfig read_resilience(ConfigReader& reader) {
  ResilienceConfig config;
  read_path(reader, config);
  read_classifier(reader, config.classifier);
  return config;
}

}  // namespace masque
