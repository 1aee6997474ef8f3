// SPDX-License-Identifier: Apache-2.0
// `masque-vpn watch` from the command line to its screen, with a screen and a service of the
// test's.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cerrno>
#include <deque>

#include "service/cli/cli.h"
#include "service/control/protocol.h"
#include "service/status_json.h"

namespace masque {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::StartsWith;

// What happens in the course of a run: each step is one wait of the command.
struct Step {
  WatchScreen::Event event = WatchScreen::Event::Time;
  std::string reply;  // of the service from then on; "": nobody listens
};

class WatchCommandTest : public ::testing::Test {
 protected:
  class Screen final : public WatchScreen {
   public:
    explicit Screen(WatchCommandTest& test, std::optional<Size> size) : test_(test), size_(size) {}
    Instant now() override { return test_.now; }
    std::string wall_clock() override { return "2026-01-31T12:00:00.123Z"; }
    std::optional<Size> size() override { return size_; }
    Result<void, SysError> write(std::string_view text) override {
      test_.shown.emplace_back(text);
      if (test_.write_error == 0) return {};
      return std::unexpected(SysError{.code = test_.write_error, .operation = "write"});
    }
    Event wait_until(Instant deadline) override {
      if (test_.steps.empty()) return Event::End;
      const Step step = std::move(test_.steps.front());
      test_.steps.pop_front();
      if (step.event == Event::Time) test_.now = deadline;
      test_.reply = step.reply;
      return step.event;
    }

   private:
    WatchCommandTest& test_;
    std::optional<Size> size_;
  };

  WatchCommandTest() {
    hooks.out = [this](std::string_view text) -> Result<void, SysError> {
      out += text;
      return {};
    };
    hooks.err = [this](std::string_view text) { err += text; };
    hooks.control = [this](const std::string& socket, std::string_view,
                           Duration) -> Result<std::string, SysError> {
      if (reply.empty())
        return std::unexpected(SysError{.code = ENOENT, .operation = "connect to " + socket});
      return reply;
    };
    hooks.watch_screen = [this](WatchOutput wanted) {
      const bool draws = wanted == WatchOutput::InPlace && terminal;
      return std::make_unique<Screen>(
          *this,
          draws ? std::optional(WatchScreen::Size{.columns = 80, .rows = 24}) : std::nullopt);
    };
    setenv("LC_ALL", "C", 1);
  }
  void TearDown() override { unsetenv("LC_ALL"); }

  int run(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), {"masque-vpn", "watch", "--socket", "/s"});
    std::vector<const char*> argv;
    argv.reserve(arguments.size());
    for (const auto& argument : arguments) argv.push_back(argument.c_str());
    return cli_main(static_cast<int>(argv.size()), argv.data(), hooks);
  }

  CliHooks hooks;
  std::string out, err, reply;
  std::deque<Step> steps;
  std::vector<std::string> shown;
  Instant now{10s};
  bool terminal = true;
  int write_error = 0;
};

std::string answer(uint64_t bytes_sent, uint32_t pid = 7,
                   ServiceState state = ServiceState::Connected) {
  ServiceStatus status;
  status.state = state;
  status.pid = pid;
  status.session =
      SessionStatus{.path = {.peer = "192.0.2.1:4433"}, .counters = {.bytes_sent = bytes_sent}};
  return control_ok(status);
}
std::string answer_of_server() {
  ServiceStatus status;
  status.role = ServiceRole::Server;
  status.state = ServiceState::Listening;
  status.sessions.resize(2);
  status.sessions[0].user = "anna";
  status.sessions[1].user = "bob";
  return control_ok(status);
}

TEST_F(WatchCommandTest, draws_at_once_and_with_each_interval) {
  reply = answer(0);
  steps = {{.reply = answer(1000)}, {.reply = answer(2000)}};
  EXPECT_EQ(run({"--interval", "500"}), kExitDone);
  ASSERT_EQ(shown.size(), 3u);
  for (const auto& frame : shown) EXPECT_THAT(frame, StartsWith("\x1b[H"));
  EXPECT_THAT(shown[1], HasSubstr("up            16.0 kbit/s"));
  EXPECT_EQ(now - Instant{10s}, 1s);
  EXPECT_EQ(out + err, "");
}

TEST_F(WatchCommandTest, draws_anew_when_the_terminal_changes) {
  reply = answer(0);
  steps = {{.event = WatchScreen::Event::Resized, .reply = answer(0)}, {.reply = answer(0)}};
  EXPECT_EQ(run({}), kExitDone);
  EXPECT_EQ(shown.size(), 3u);
  EXPECT_EQ(now - Instant{10s}, 1s) << "the interval is as long as before";
}

TEST_F(WatchCommandTest, has_the_characters_of_the_locale) {
  const auto draws_blocks = [&](std::vector<std::string> arguments) {
    shown.clear();
    reply = answer(0);
    steps = {{.reply = answer(1000)}};
    EXPECT_EQ(run(std::move(arguments)), kExitDone);
    return shown.back().contains("█");
  };
  EXPECT_FALSE(draws_blocks({}));
  setenv("LC_ALL", "en_US.UTF-8", 1);
  EXPECT_TRUE(draws_blocks({}));
  EXPECT_FALSE(draws_blocks({"--ascii"}));
}

TEST_F(WatchCommandTest, writes_a_line_each_interval_where_there_is_no_terminal) {
  terminal = false;
  reply = answer(0);
  steps = {{.reply = answer(1000)}, {.reply = ""}, {.reply = ""}, {.reply = answer(0, 8)}};
  EXPECT_EQ(run({}), kExitDone);
  ASSERT_EQ(shown.size(), 4u);
  EXPECT_THAT(shown[0], StartsWith("12:00:00 up 8.0 kbit/s, down 0 bit/s"));
  EXPECT_EQ(shown[1], "12:00:00 gone\n");
  EXPECT_THAT(shown[3], StartsWith("12:00:00 up -"));
  EXPECT_THAT(err, HasSubstr("masque-vpn: connect to /s: "));
  EXPECT_THAT(err, HasSubstr("masque-vpn: the service answers again\n"
                             "masque-vpn: the service was restarted\n"));
}

TEST_F(WatchCommandTest, writes_objects) {
  reply = answer(0);
  steps = {{.reply = answer(1000)}, {.reply = ""}, {.reply = answer(0, 8)}};
  EXPECT_EQ(run({"--json"}), kExitDone);
  ASSERT_EQ(shown.size(), 3u);
  const auto first = Json::parse(shown[0]);
  EXPECT_EQ(first["time"], "2026-01-31T12:00:00.123Z");
  EXPECT_EQ(first["sessions"][0]["up_bit_s"], 8000.0);
  EXPECT_EQ(Json::parse(shown[1])["state"], "gone");
  EXPECT_EQ(Json::parse(shown[2])["restarted"], true);
}

TEST_F(WatchCommandTest, ends_when_nobody_reads) {
  reply = answer(0);
  steps = {{.reply = answer(0)}, {.reply = answer(0)}};
  write_error = EPIPE;
  EXPECT_EQ(run({"--json"}), kExitDone);
  EXPECT_EQ(shown.size(), 1u);
}

TEST_F(WatchCommandTest, fails_when_nothing_can_be_written) {
  reply = answer(0);
  steps = {{.reply = answer(0)}, {.reply = answer(0)}};
  write_error = ENOSPC;
  EXPECT_EQ(run({"--json"}), kExitFailed);
  EXPECT_EQ(shown.size(), 1u);
  EXPECT_EQ(err, "masque-vpn: write: No space left on device\n");
}

TEST_F(WatchCommandTest, wants_an_instance_at_its_start) {
  EXPECT_EQ(run({}), kExitNotConnected);
  EXPECT_THAT(err, HasSubstr("nothing runs at /s"));
  reply = "garbage";
  EXPECT_EQ(run({}), kExitFailed);
  reply = control_ok();
  EXPECT_EQ(run({}), kExitFailed);
  EXPECT_THAT(shown, IsEmpty());
}

TEST_F(WatchCommandTest, watches_the_clients_named) {
  reply = answer_of_server();
  EXPECT_EQ(run({"--client", "bob"}), kExitDone);
  EXPECT_THAT(shown.back(), HasSubstr("bob  "));
  EXPECT_THAT(shown.back(), Not(HasSubstr("anna")));
  EXPECT_EQ(run({}), kExitDone);
  EXPECT_THAT(shown.back(), HasSubstr("anna  "));
  reply = answer(0);
  EXPECT_EQ(run({"--client", "bob"}), kExitUsage);
  EXPECT_THAT(err, HasSubstr("--client"));
}

TEST_F(WatchCommandTest, intervals_are_bounded) {
  reply = answer(0);
  for (const auto good : {"100", "60000"}) EXPECT_EQ(run({"--interval", good}), kExitDone) << good;
  for (const auto bad : {"99", "60001", "-1", "x"})
    EXPECT_EQ(run({"--interval", bad}), kExitUsage) << bad;
}

}  // namespace
}  // namespace masque
