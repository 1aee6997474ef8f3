// SPDX-License-Identifier: Apache-2.0
#include "service/config/resilience.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <format>

#include "service/config/reader.h"

namespace masque {
namespace {

struct Read {
  ResilienceConfig config;
  std::vector<ConfigError> errors;
};
Read read(std::string_view keys) {
  const auto root = parse_toml(std::format("[resilience]\n{}", keys), "/x.toml");
  if (!root) return {.config = {}, .errors = {root.error()}};
  ConfigReader reader("/x.toml", *root);
  ResilienceConfig config = read_resilience(reader);
  reader.finish();
  return {.config = std::move(config), .errors = reader.errors};
}

TEST(Resilience, is_off_and_has_the_cores_defaults) {
  const auto [config, errors] = read("");
  EXPECT_TRUE(errors.empty());
  EXPECT_EQ(config.path.mode, ResilienceMode::Off);
  EXPECT_EQ(config.path.code, ErasureCode::SlidingWindow);
  EXPECT_EQ(config.path.hold_max, PathSettings{}.hold_max);
  EXPECT_EQ(config.classifier.realtime_dscp, ClassifierOptions{}.realtime_dscp);
  EXPECT_EQ(config.release.mode, ReleaseOptions::Mode::Timed);
}

TEST(Resilience, reads_every_key) {
  const auto [config, errors] = read(R"(mode = "calls"
max_added_delay_ms = 80
code = "reed-solomon"
window = 64
queue_target_ms = 25
shaper = true
recovered_as = "marked"
realtime_dscp = ["EF", "AF41", "CS1", "63"]
realtime_ports = ["5060", "16384-32767"]
realtime_rate_max_kbit = 500
marked_rate_max_kbit = 8000)");
  for (const auto& error : errors) ADD_FAILURE() << error.message();
  EXPECT_EQ(config.path.mode, ResilienceMode::Calls);
  EXPECT_EQ(config.path.hold_max, 80ms);
  EXPECT_EQ(config.path.realtime_budget, 80ms);
  EXPECT_EQ(config.release.allowance, 80ms);
  EXPECT_EQ(config.path.code, ErasureCode::ReedSolomon);
  EXPECT_EQ(config.path.window_max, 64u);
  EXPECT_EQ(config.path.queue_target, 25ms);
  EXPECT_EQ(config.path.shaper, PathSettings::Shaper::On);
  EXPECT_EQ(config.path.recovered_as, PathSettings::RecoveredAs::Marked);
  EXPECT_EQ(config.classifier.realtime_dscp,
            uint64_t{1} << 46 | uint64_t{1} << 34 | uint64_t{1} << 8 | uint64_t{1} << 63);
  EXPECT_EQ(config.classifier.bulk_dscp, uint64_t{1} << 1);  // CS1 was asked for
  ASSERT_EQ(config.classifier.realtime_ports.size(), 2u);
  EXPECT_EQ(config.classifier.realtime_ports[0].first, 5060);
  EXPECT_EQ(config.classifier.realtime_ports[0].last, 5060);
  EXPECT_EQ(config.classifier.realtime_ports[1].last, 32767);
  EXPECT_EQ(config.classifier.realtime_rate_max, 500'000u);
  EXPECT_EQ(config.classifier.marked_rate_max, 8'000'000u);
}

TEST(Resilience, bulk_does_not_even_out_delays) {
  EXPECT_EQ(read("mode = \"bulk\"").config.release.mode, ReleaseOptions::Mode::AtOnce);
}

TEST(Resilience, faults_are_told_with_their_line) {
  const auto errors = read("mode = \"auto\"\nrealtime_ports = [\"0\"]\nwindow = 3").errors;
  ASSERT_EQ(errors.size(), 2u);
  EXPECT_EQ(errors[0].line, 3u);
  EXPECT_THAT(errors[0].message(), ::testing::HasSubstr("16384-32767"));
  EXPECT_EQ(errors[1].line, 4u);
}

class BadPorts : public ::testing::TestWithParam<const char*> {};
TEST_P(BadPorts, are_refused) {
  EXPECT_EQ(read(std::format("realtime_ports = [\"{}\"]", GetParam())).errors.size(), 1u);
}
INSTANTIATE_TEST_SUITE_P(Table, BadPorts,
                         ::testing::Values("0", "65536", "1-65536", "-1", "5-", "-", "a", "9-8",
                                           "1-2-3", " 1"));

class BadCodePoints : public ::testing::TestWithParam<const char*> {};
TEST_P(BadCodePoints, are_refused) {
  EXPECT_EQ(read(std::format("realtime_dscp = [\"{}\"]", GetParam())).errors.size(), 1u);
}
INSTANTIATE_TEST_SUITE_P(Table, BadCodePoints,
                         ::testing::Values("64", "-1", "ef", "CS8", "AF14", "AF51", "AF4", "CS",
                                           "1x"));

}  // namespace
}  // namespace masque
