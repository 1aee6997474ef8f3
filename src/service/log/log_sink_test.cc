// SPDX-License-Identifier: Apache-2.0
#include "service/log/log_sink.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <format>
#include <vector>

namespace masque {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class LogSinkTest : public ::testing::Test {
 protected:
  StderrLogSink sink(LogFormat format, LogTarget target = LogTarget::Terminal) {
    return StderrLogSink(
        format, target, [this] { return now; },
        [this](std::string_view line) {
          if (!accepts) return false;
          lines.emplace_back(line);
          return true;
        });
  }
  std::chrono::system_clock::time_point now{std::chrono::milliseconds(1'769'860'800'123)};
  bool accepts = true;
  std::vector<std::string> lines;
};

TEST_F(LogSinkTest, writes_event_and_fields) {
  auto s = sink(LogFormat::Text);
  s.write(LogLevel::Info, "session.up", {{"client", "anna"}, {"mtu", 1400}});
  EXPECT_THAT(lines,
              ElementsAre("2026-01-31T12:00:00.123Z info session.up client=anna mtu=1400\n"));
}

TEST_F(LogSinkTest, values_cannot_break_a_line_or_pass_for_a_field) {
  auto s = sink(LogFormat::Text);
  s.write(LogLevel::Warn, "e",
          {{"a", "x y"}, {"b", "1 c=2"}, {"d", "\n\x1b[31m\"\\"}, {"empty", ""}});
  EXPECT_THAT(lines[0], HasSubstr(R"(a="x y" b="1 c=2" d="\x0a\x1b[31m\"\\" empty="")"));
  EXPECT_EQ(std::ranges::count(lines[0], '\n'), 1);
}

TEST_F(LogSinkTest, under_systemd_the_journal_keeps_time_and_level) {
  auto s = sink(LogFormat::Text, LogTarget::Journal);
  s.write(LogLevel::Error, "tun.lost", {});
  s.write(LogLevel::Info, "ready", {});
  EXPECT_THAT(lines, ElementsAre("<3>tun.lost\n", "<6>ready\n"));
}

TEST_F(LogSinkTest, json_is_one_object_a_line) {
  auto s = sink(LogFormat::Json);
  s.write(LogLevel::Debug, "e", {{"text", "a \"quoted\"\n\xff"}});
  EXPECT_EQ(
      lines[0],
      "{\"time\":\"2026-01-31T12:00:00.123Z\",\"level\":\"debug\",\"event\":\"e\",\"text\":\"a "
      "\\\"quoted\\\"\\n\xef\xbf\xbd\"}\n");
}

// faults.md C2.
TEST_F(LogSinkTest, an_event_has_ten_lines_a_second_and_tells_how_many_were_left_out) {
  auto s = sink(LogFormat::Text);
  for (int i = 0; i < 1000; ++i) s.write(LogLevel::Warn, "drop.source", {});
  EXPECT_EQ(lines.size(), StderrLogSink::kLinesPerSecond);
  s.write(LogLevel::Info, "other", {});
  EXPECT_EQ(lines.size(), StderrLogSink::kLinesPerSecond + 1) << "events do not silence each other";
  now += std::chrono::seconds(1);
  s.write(LogLevel::Warn, "drop.source", {});
  EXPECT_THAT(lines.back(), HasSubstr("drop.source suppressed=990"));
  s.write(LogLevel::Warn, "drop.source", {});
  EXPECT_THAT(lines.back(), ::testing::Not(HasSubstr("suppressed")));
}

TEST_F(LogSinkTest, events_without_end_share_one_budget) {
  auto s = sink(LogFormat::Text);
  for (size_t i = 0; i < StderrLogSink::kEventsMax + 100; ++i)
    s.write(LogLevel::Info, std::format("event{}", i), {});
  EXPECT_EQ(lines.size(), StderrLogSink::kEventsMax + StderrLogSink::kLinesPerSecond);
}

// faults.md K4.
TEST_F(LogSinkTest, a_target_that_takes_nothing_costs_lines_only) {
  auto s = sink(LogFormat::Text);
  accepts = false;
  for (int i = 0; i < 5; ++i) s.write(LogLevel::Info, "e", {});
  EXPECT_EQ(s.lines_lost(), 5u);
  accepts = true;
  s.write(LogLevel::Info, "e", {});
  EXPECT_EQ(lines.size(), 1u);
}

TEST_F(LogSinkTest, a_line_has_a_limit) {
  auto s = sink(LogFormat::Text);
  s.write(LogLevel::Info, "e", {{"long", std::string(10'000, 'x')}});
  EXPECT_EQ(lines[0].size(), StderrLogSink::kLineBytesMax);
  EXPECT_EQ(lines[0].back(), '\n');
}

}  // namespace
}  // namespace masque
