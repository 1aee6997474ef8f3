// SPDX-License-Identifier: Apache-2.0
#include "linkemu/settings.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "linkemu/packet_io.h"

namespace masque::linkemu {
namespace {

std::expected<Settings, std::string> parse(std::vector<std::string> words) {
  words.insert(words.begin(), "masque-linkemu");
  std::vector<char*> raw;
  for (std::string& word : words) raw.push_back(word.data());
  return parse_arguments(static_cast<int>(raw.size()), raw.data());
}

std::expected<Settings, std::string> bridge(std::vector<std::string> words) {
  words.insert(words.begin(), {"bridge", "a", "b"});
  return parse(std::move(words));
}

const LinkPlan& plan(const Settings& settings, Direction direction) {
  return settings.plans[static_cast<size_t>(direction)];
}

TEST(Settings, commands) {
  EXPECT_EQ(parse({"bridge", "a", "b"})->mode, Mode::Bridge);
  EXPECT_EQ(parse({"bridge", "a", "b"})->places[1], "b");
  EXPECT_EQ(parse({"relay", "[::1]:1", "192.0.2.1:2"})->mode, Mode::Relay);
  EXPECT_EQ(parse({"profiles", "--json"})->output, Output::Json);
  EXPECT_EQ(parse({"--help"})->mode, Mode::Help);
  EXPECT_EQ(parse({"bridge", "--help"})->mode, Mode::Help);
  EXPECT_EQ(parse({"--version"})->mode, Mode::Version);
}

TEST(Settings, nothing_is_emulated_unasked) {
  const auto settings = bridge({});
  for (const LinkPlan& both : settings->plans) {
    EXPECT_EQ(both.options.delay, 0ms);
    EXPECT_EQ(both.options.rate_bits_per_second, 0u);
    EXPECT_EQ(both.options.mtu, 65'535u);
  }
}

TEST(Settings, directions) {
  const auto settings = bridge({"--delay", "5ms", "--up-rate=10mbit", "--down-loss", "1%"});
  ASSERT_TRUE(settings) << settings.error();
  EXPECT_EQ(plan(*settings, Direction::Up).options.delay, 5ms);
  EXPECT_EQ(plan(*settings, Direction::Down).options.delay, 5ms);
  EXPECT_EQ(plan(*settings, Direction::Up).options.rate_bits_per_second, 10'000'000u);
  EXPECT_EQ(plan(*settings, Direction::Down).options.rate_bits_per_second, 0u);
  EXPECT_EQ(plan(*settings, Direction::Up).options.loss_ppm, 0u);
  EXPECT_EQ(plan(*settings, Direction::Down).options.loss_ppm, 10'000u);
}

TEST(Settings, options_override_the_profile_wherever_it_stands) {
  for (const auto& words : {std::vector<std::string>{"--profile", "mobile", "--loss", "0%"},
                            std::vector<std::string>{"--loss", "0%", "--profile", "mobile"}}) {
    const auto settings = bridge(words);
    EXPECT_EQ(plan(*settings, Direction::Up).options.loss_ppm, 0u);
    EXPECT_EQ(plan(*settings, Direction::Up).options.jitter, 30ms);
    EXPECT_EQ(settings->profiles[0], "mobile");
  }
  const auto two = bridge({"--up-profile", "dsl", "--down-profile", "lte"});
  EXPECT_EQ(two->profiles[0], "dsl");
  EXPECT_EQ(two->profiles[1], "lte");
}

TEST(Settings, changes_add_up) {
  const auto settings = bridge({"--rate", "50mbit", "--at", "20s", "up-delay=9ms", "--at", "10s",
                                "rate=5mbit,loss=1%", "queue=20ms", "--down-at", "30s",
                                "profile=clean", "--seed", "3"});
  ASSERT_TRUE(settings) << settings.error();
  const auto& up = plan(*settings, Direction::Up).changes;
  const auto& down = plan(*settings, Direction::Down).changes;
  ASSERT_EQ(up.size(), 3u);
  EXPECT_EQ(up[0].at, 10s);
  EXPECT_EQ(up[0].options.rate_bits_per_second, 5'000'000u);
  EXPECT_EQ(up[0].options.loss_ppm, 10'000u);
  EXPECT_EQ(up[0].options.queue_time_max, 20ms);
  EXPECT_EQ(up[1].options.delay, 9ms);
  EXPECT_EQ(up[1].options.rate_bits_per_second, 5'000'000u);
  EXPECT_EQ(down[1].options.delay, 0ms);
  EXPECT_EQ(up[2].options.rate_bits_per_second, 5'000'000u);
  EXPECT_EQ(down[2].options.rate_bits_per_second, 0u);
  EXPECT_EQ(settings->profiles[0], "clean");
  EXPECT_EQ(settings->seed, 3u);
}

TEST(Settings, traces_are_read) {
  const auto path =
      std::filesystem::temp_directory_path() / ("linkemu-trace-" + std::to_string(::getpid()));
  std::ofstream(path) << "1\n2\n";
  const auto settings = bridge({"--down-trace", path.string()});
  ASSERT_TRUE(settings) << settings.error();
  EXPECT_EQ(plan(*settings, Direction::Up).options.trace, nullptr);
  ASSERT_NE(plan(*settings, Direction::Down).options.trace, nullptr);
  EXPECT_EQ(plan(*settings, Direction::Down).options.trace->period(), 2ms);
  std::ofstream(path) << "1\nx\n";
  EXPECT_EQ(bridge({"--trace", path.string()}).error(),
            "--trace: " + path.string() + ": line 2: not a time in milliseconds");
  std::filesystem::remove(path);
  EXPECT_FALSE(bridge({"--trace", path.string()}));
}

TEST(Settings, refuses_in_one_line) {
  using Words = std::vector<std::string>;
  for (const auto& [words, error] : std::initializer_list<std::pair<Words, const char*>>{
           {{}, "a command is missing: bridge, relay, profiles, completion or man"},
           {{"brigde"}, "no such command: 'brigde'"},
           {{"bridge", "a"}, "bridge wants two interfaces"},
           {{"relay", "a"}, "relay wants LISTEN_ADDR:PORT and TARGET_ADDR:PORT"},
           {{"bridge", "a", "b", "c"}, "one word too many: 'c'"},
           {{"relay", "192.0.2.1", "192.0.2.1:1"},
            "'192.0.2.1' is not an address such as 192.0.2.1:443 or [2001:db8::1]:443"},
           {{"completion"}, "completion wants one of bash, zsh, fish"},
           {{"bridge", "a", "b", "--interval", "1ms"}, "--interval: less than 10ms"},
           {{"profiles", "x"}, "this command takes no names"},
           {{"bridge", "a", "b", "--rte", "1mbit"}, "no such option: --rte"},
           {{"bridge", "a", "b", "--rate"}, "--rate wants a value"},
           {{"bridge", "a", "b", "--loss", "2"},
            "--loss: '2' is not a share from 0% to 100% such as 2%"},
           {{"bridge", "a", "b", "--profile", "x"},
            "--profile: no such profile: 'x' (masque-linkemu profiles lists them)"},
           {{"bridge", "a", "b", "--seed", "-1"},
            "--seed: '-1' is not a number from 0 to 4294967295"},
           {{"bridge", "a", "b", "--at", "1s"}, "--at wants KEY=VALUE"},
           {{"bridge", "a", "b", "--at", "x", "rate=1mbit"},
            "--at: 'x' is not a time such as 25ms, 1.5s, 200us or 2m"},
           {{"bridge", "a", "b", "--at", "1s", "rte=1mbit"},
            "--at: 'rte=1mbit' sets no option of a link"},
           {{"bridge", "a", "b", "--up-at", "1s", "down-rate=1mbit"},
            "--up-at: 'down-rate=1mbit' names a direction again"},
           {{"bridge", "a", "b", "--priority", "x"},
            "--priority: 'x' is not 'realtime' or 'ordinary'"},
           {{"bridge", "a", "b", "--packets-max", "1"},
            "--packets-max: '1' is not a number from 16 to 4000000"},
       }) {
    const auto settings = parse(words);
    ASSERT_FALSE(settings) << error;
    EXPECT_EQ(settings.error(), error);
  }
}

}  // namespace
}  // namespace masque::linkemu
