// SPDX-License-Identifier: Apache-2.0
// Pictures as they are to be seen, and what leads to them.
#include "service/watch/watch_frame.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "service/status_json.h"

namespace masque {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr size_t kRealTime = static_cast<size_t>(TrafficClass::RealTime);

Instant at(Duration time) { return instant_from_ns(1'000'000'000) + time; }

// A call after `seconds` of a link that loses 2 % in, by fits and starts, and 1 % out; traffic
// swells and ebbs.
WatchSample call(std::string user, int seconds) {
  WatchSample out{.user = std::move(user),
                  .peer = "192.0.2.1:4433",
                  .path_layer = "auto, sliding-window",
                  .connected_s = static_cast<double>(seconds),
                  .rtt_ms = 100.0 + seconds % 7};
  double lost = 0;
  for (int s = 0; s < seconds; ++s) {
    lost += s % 10 < 4 ? s % 10 + 1 : 0;
    out.bytes_sent += 10'000;
    out.bytes_received += std::round(100'000 * (1.0 + std::sin(s / 5.0)));
  }
  const double n = 50.0 * seconds;
  out.path_bytes = n * 250;
  out.repair_bytes = n * 50;
  out.classes[kRealTime] = {
      .in = {.packets = n, .settled = n, .lost = lost, .recovered = lost - 1, .gone = 1},
      .out = {.packets = n, .settled = n, .lost = n / 100},
      .jitter_before_ms = 9.0 + seconds % 3,
      .jitter_after_ms = 0.5};
  return out;
}

WatchStatus server(std::vector<WatchSample> sessions, double pid = 7) {
  return {.role = "server", .state = "listening", .pid = pid, .sessions = std::move(sessions)};
}
WatchStatus client(std::vector<WatchSample> sessions, std::string state = "connected") {
  return {.role = "client", .state = std::move(state), .pid = 7, .sessions = std::move(sessions)};
}

Watcher watched(int seconds, std::vector<std::string> users = {""}) {
  Watcher out({.interval = 1s, .clients = {}});
  for (int s = 0; s <= seconds; ++s) {
    std::vector<WatchSample> sessions;
    for (const auto& user : users) sessions.push_back(call(user, s));
    out.on_status(at(s * 1s), users[0].empty() ? client(sessions) : server(sessions));
  }
  return out;
}

std::string text(const std::vector<std::string>& lines) {
  std::string out;
  for (const auto& line : lines) out += line + "\n";
  return out;
}

size_t width(std::string_view line) {
  return static_cast<size_t>(
      std::ranges::count_if(line, [](char c) { return (c & 0xc0) != 0x80; }));
}

TEST(WatchFrame, of_a_client_on_a_usual_terminal) {
  EXPECT_EQ(text(draw_frame(watched(70), at(70s), {.columns = 100, .rows = 24})),
            R"(masque-vpn client: connected

192.0.2.1:4433  auto, sliding-window
up            80.0 kbit/s  ██████████████████████████████  max 80.0 kbit/s
down           1.6 Mbit/s  █▇▅▄▃▂▂▂▃▄▅▆████▇▆▅▃▂▂▂▂▃▄▅▇██  max 1.6 Mbit/s
round trip       100.0 ms  ██████████████████████████████  max 105.5 ms
loss in            2.00 %  █▇▁▁▃█▇▁▁▃█▇▁▁▃█▇▁▁▃█▇▁▁▃█▇▁▁▁  max 5.00 %
  after            0.00 %  ▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁
loss out           1.00 %  ██████████████████████████████  max 1.00 %
  after            0.00 %  ▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁
jitter in         10.0 ms  ██████████████████████████████  max 10.5 ms
  after            0.5 ms  ▂▂▂▂▂▂▂▂▂▂▂▂▂▂▂▂▂▂▂▂▂▂▂▂▂▂▂▂▂▂
overhead out      20.00 %  ██████████████████████████████  max 20.00 %
q ends
)");
}

TEST(WatchFrame, without_unicode_and_while_the_minute_fills) {
  EXPECT_EQ(text(draw_frame(watched(20), at(20s),
                            {.columns = 60, .rows = 24, .charset = Charset::Ascii})),
            R"(masque-vpn client: connected

192.0.2.1:4433  auto, sliding-window
up            80.0 kbit/s                     ###########
down         310.5 kbit/s                     =+*####*=-:
round trip       106.0 ms                     ###########
loss in            2.00 %                     -#*__:#*___
  after            0.00 %                     ___________
loss out           1.00 %                     ###########
  after            0.00 %                     ___________
jitter in         11.0 ms                     ###########
  after            0.5 ms                     ...........
overhead out      20.00 %                     ###########
q ends
)");
}

TEST(WatchFrame, fits_any_terminal) {
  const Watcher watcher = watched(70, {"anna", "bob", "carla"});
  for (size_t columns = 0; columns < 140; ++columns) {
    for (size_t rows = 0; rows < 50; rows += 1 + rows / 3) {
      const auto frame = draw_frame(watcher, at(70s), {.columns = columns, .rows = rows});
      EXPECT_LE(frame.size(), rows);
      for (const auto& line : frame) EXPECT_LE(width(line), columns) << line;
    }
  }
}

TEST(WatchFrame, tells_how_many_sessions_have_no_room) {
  const Watcher watcher = watched(5, {"anna", "bob", "carla"});
  const auto frame = text(draw_frame(watcher, at(5s), {.columns = 80, .rows = 28}));
  EXPECT_THAT(frame, HasSubstr("anna  192.0.2.1:4433  auto, sliding-window\n"));
  EXPECT_THAT(frame, HasSubstr("\nbob  "));
  EXPECT_THAT(frame, Not(HasSubstr("carla")));
  EXPECT_THAT(frame, HasSubstr("q ends; 1 more: choose with --client"));
}

TEST(WatchFrame, says_when_the_service_does_not_answer_and_when_it_is_back) {
  Watcher watcher = watched(5);
  watcher.on_gone(at(6s), "connect to /run/x.sock: no such file");
  watcher.on_gone(at(9s), "connect to /run/x.sock: no such file");
  EXPECT_THAT(text(draw_frame(watcher, at(9s), {})),
              HasSubstr("masque-vpn client: gone\nconnect to /run/x.sock: no such file; waiting "
                        "for it for 3 s\n\nnot connected\nup                      -"));
  WatchStatus back = client({call("", 0)});
  back.pid = 8;
  watcher.on_status(at(10s), back);
  EXPECT_EQ(watcher.instance(), Watcher::Instance::Restarted);
  EXPECT_THAT(text(draw_frame(watcher, at(10s), {})),
              HasSubstr("client: connected\nthe service was restarted\n\n192.0.2.1:4433"));
  back.sessions = {call("", 1)};
  watcher.on_status(at(11s), back);
  EXPECT_EQ(watcher.instance(), Watcher::Instance::Answers);
  EXPECT_THAT(text(draw_frame(watcher, at(11s), {})), HasSubstr("up            80.0 kbit/s"));
  EXPECT_EQ(watcher.notice(at(10s) + Watcher::kNoticeTime), "");
}

TEST(WatchFrame, without_a_path_layer_has_what_is_known) {
  Watcher watcher({});
  WatchSample plain = call("", 1);
  plain.path_layer.clear();
  watcher.on_status(at(0s), client({plain}));
  const auto frame = text(draw_frame(watcher, at(0s), {}));
  EXPECT_THAT(frame, HasSubstr("192.0.2.1:4433  no path layer\nup "));
  EXPECT_THAT(frame, Not(HasSubstr("loss")));
}

TEST(WatchFrame, of_nobody) {
  Watcher watcher({});
  watcher.on_status(at(0s), client({}, "connecting"));
  EXPECT_EQ(text(draw_frame(watcher, at(0s), {})),
            "masque-vpn client: connecting\n\nnot connected\nq ends\n");
  watcher.on_status(at(0s), server({}));
  EXPECT_THAT(text(draw_frame(watcher, at(0s), {})), HasSubstr("\nno sessions\n"));
}

// Texts of errors may come from a peer.
TEST(WatchFrame, gives_the_terminal_no_commands_of_others) {
  Watcher watcher({});
  watcher.on_gone(at(0s), "\x1b[2J\a");
  EXPECT_THAT(text(draw_frame(watcher, at(0s), {})), HasSubstr("\n?[2J?;"));
}

TEST(WatchFrame, takes_the_place_of_the_one_before) {
  EXPECT_EQ(to_terminal({"a", "b"}), "\x1b[Ha\x1b[K\r\nb\x1b[K\x1b[J");
  EXPECT_EQ(to_terminal({}), "\x1b[H\x1b[J");
}

TEST(WatchLines, are_one_a_session) {
  EXPECT_EQ(
      draw_lines(watched(30, {"anna", "bob"}), "12:00:00"),
      R"(12:00:00 anna up 80.0 kbit/s, down 428.3 kbit/s, round trip 102.0 ms, loss in 2.00 % > 0.00 %, out 1.00 % > 0.00 %, jitter 9.0 ms > 0.5 ms, overhead 20.00 %
12:00:00 bob up 80.0 kbit/s, down 428.3 kbit/s, round trip 102.0 ms, loss in 2.00 % > 0.00 %, out 1.00 % > 0.00 %, jitter 9.0 ms > 0.5 ms, overhead 20.00 %
)");
  Watcher gone = watched(3);
  gone.on_gone(at(4s), "x");
  EXPECT_EQ(draw_lines(gone, "12:00:00"), "12:00:00 gone\n");
}

TEST(WatchJson, tells_what_happened_in_the_interval) {
  const auto json = Json::parse(draw_json(watched(30, {"anna"}), at(30s), "now"));
  EXPECT_EQ(json["time"], "now");
  EXPECT_EQ(json["state"], "listening");
  const auto& session = json["sessions"][0];
  EXPECT_EQ(session["client"], "anna");
  EXPECT_EQ(session["connected"], true);
  EXPECT_EQ(session["interval_s"], 1.0);
  EXPECT_EQ(session["up_bit_s"], 80'000.0);
  EXPECT_EQ(session["rtt_ms"], 102.0);
  EXPECT_EQ(session["overhead"], 0.2);
  EXPECT_EQ(
      session["received"]["realtime"],
      (Json{{"packets", 50.0}, {"recovered", 0.0}, {"loss_before", 0.0}, {"loss_after", 0.0}}));
  EXPECT_EQ(session["sent"]["bulk"]["loss_before"], 0);
  EXPECT_EQ(session["jitter_before_ms"], 9.0);
  EXPECT_EQ(session["jitter_after_ms"], 0.5);
}

TEST(WatchJson, says_what_the_service_does) {
  Watcher watcher = watched(3);
  watcher.on_gone(at(4s), "x");
  const auto gone = Json::parse(draw_json(watcher, at(4s), "now"));
  EXPECT_EQ(gone["state"], "gone");
  EXPECT_EQ(gone["error"], "x; waiting for it for 0 s");
  EXPECT_EQ(gone["sessions"][0]["connected"], false);
  WatchStatus back = client({call("", 0)});
  back.pid = 8;
  watcher.on_status(at(5s), back);
  EXPECT_EQ(Json::parse(draw_json(watcher, at(5s), "now"))["restarted"], true);
}

TEST(Watcher, keeps_those_that_were_asked_for) {
  Watcher watcher({.interval = 1s, .clients = {"bob"}});
  watcher.on_status(at(0s), server({call("anna", 0)}));
  ASSERT_EQ(watcher.sessions().size(), 1u);
  EXPECT_FALSE(watcher.sessions()[0].sample);
  EXPECT_THAT(text(draw_frame(watcher, at(0s), {})), HasSubstr("bob  not connected"));
  watcher.on_status(at(1s), server({call("anna", 1), call("bob", 1)}));
  ASSERT_EQ(watcher.sessions().size(), 1u);
  EXPECT_TRUE(watcher.sessions()[0].sample);
  EXPECT_EQ(watcher.left_out(), 0u);
}

TEST(Watcher, forgets_sessions_that_ended) {
  Watcher watcher = watched(3, {"anna", "bob"});
  watcher.on_status(at(4s), server({call("bob", 4)}));
  ASSERT_EQ(watcher.sessions().size(), 1u);
  EXPECT_EQ(watcher.sessions()[0].user, "bob");
}

TEST(Watcher, follows_a_bounded_number_of_sessions) {
  for (const size_t count : {Watcher::kSessionsMax, Watcher::kSessionsMax + 1}) {
    std::vector<WatchSample> sessions;
    for (size_t i = 0; i < count; ++i) sessions.push_back(call(std::format("user{}", i), 1));
    Watcher watcher({});
    watcher.on_status(at(0s), server(sessions));
    watcher.on_status(at(1s), server(sessions));
    EXPECT_EQ(watcher.sessions().size(), Watcher::kSessionsMax);
    EXPECT_EQ(watcher.left_out(), count - Watcher::kSessionsMax);
  }
}

std::vector<std::optional<double>> uploads(const WatchHistory& history, size_t columns) {
  return history.cells(columns, [](const WatchPoint& p) { return std::optional(p.up_bytes); });
}

TEST(WatchHistory, holds_a_minute) {
  WatchHistory history(1s);
  for (int i = 0; i < 100; ++i) history.push(WatchPoint{.up_bytes = static_cast<double>(i)});
  const auto cells = uploads(history, 200);
  ASSERT_EQ(cells.size(), 60u);
  EXPECT_EQ(cells.front(), 40);
  EXPECT_EQ(cells.back(), 99);
  EXPECT_EQ(history.recent()->up_bytes, 90 + 91 + 92 + 93 + 94 + 95 + 96 + 97 + 98 + 99);
}

// Otherwise the picture would flicker with every new point.
TEST(WatchHistory, cells_keep_their_points) {
  WatchHistory history(10s);
  EXPECT_EQ(uploads(history, 3).size(), 3u);
  history.push(WatchPoint{.up_bytes = 1});
  EXPECT_THAT(uploads(history, 3), ElementsAre(std::nullopt, std::nullopt, 1));
  history.push(WatchPoint{.up_bytes = 3});
  EXPECT_THAT(uploads(history, 3), ElementsAre(std::nullopt, std::nullopt, 2));
  history.push(std::nullopt);
  EXPECT_THAT(uploads(history, 3), ElementsAre(std::nullopt, 2, std::nullopt));
  history.push(WatchPoint{.up_bytes = 7});
  EXPECT_THAT(uploads(history, 3), ElementsAre(std::nullopt, 2, 7));
  EXPECT_EQ(uploads(history, 0).size(), 1u);
}

}  // namespace
}  // namespace masque
