// SPDX-License-Identifier: Apache-2.0
// `masque-vpn watch`: asks the instance once an interval and shows what happened in between. Each
// question is a connection of its own, so that a restart of the service needs nothing else.
#include <algorithm>
#include <cctype>
#include <cerrno>
#include <cstdlib>
#include <format>

#include "service/cli/context.h"
#include "service/watch/watch_frame.h"

namespace masque {

namespace {

constexpr Duration kAnswerTimeout = 2s;

// Of the locale's environment, in its order of precedence.
Charset charset_of_locale() {
  for (const char* name : {"LC_ALL", "LC_CTYPE", "LANG"}) {
    const char* value = std::getenv(name);
    if (value == nullptr || *value == '\0') continue;
    std::string text;
    for (const char c : std::string_view(value)) {
      if (c != '-') text += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    }
    return text.contains("utf8") ? Charset::Unicode : Charset::Ascii;
  }
  return Charset::Ascii;
}

class Watch {
 public:
  Watch(const CliContext& cli, const WatchOptions& options, std::string socket)
      : cli_(cli),
        options_(options),
        socket_(std::move(socket)),
        interval_(std::chrono::milliseconds(options.interval_ms)),
        charset_(options.ascii ? Charset::Ascii : charset_of_locale()),
        watcher_({.interval = interval_, .clients = options.clients}) {}

  int run(const WatchStatus& first) {
    screen_ = cli_.hooks().watch_screen(options_.json ? WatchOutput::Lines : WatchOutput::InPlace);
    Instant next = screen_->now();
    watcher_.on_status(next, first);
    if (screen_->size()) (void)draw();
    while (true) {
      // After a stop of the machine no intervals are made up for.
      next = std::max(next + interval_, screen_->now());
      if (!wait(next)) return kExitDone;
      ask();
      const auto drawn = draw();
      if (drawn) continue;
      if (drawn.error().code == EPIPE) return kExitDone;  // nobody reads any more
      return cli_.fail(kExitFailed, drawn.error().message());
    }
  }

 private:
  bool wait(Instant deadline) {
    while (true) {
      switch (screen_->wait_until(deadline)) {
        case WatchScreen::Event::Time:
          return true;
        case WatchScreen::Event::Resized:
          (void)draw();
          break;
        case WatchScreen::Event::End:
          return false;
      }
    }
  }

  void ask() {
    const auto line = cli_.hooks().control(socket_, to_json(StatusRequest{}), kAnswerTimeout);
    const Instant now = screen_->now();
    const bool was_gone = watcher_.instance() == Watcher::Instance::Gone;
    std::string why = line ? "no status in the answer" : line.error().message();
    if (line) {
      const auto reply = parse_control_reply(*line);
      if (reply && !reply->ok) why = reply->error;
      const auto status = reply ? read_watch_status(reply->status_json) : std::nullopt;
      if (status) {
        watcher_.on_status(now, *status);
        if (was_gone) tell("the service answers again");
        if (watcher_.instance() == Watcher::Instance::Restarted) tell("the service was restarted");
        return;
      }
    }
    watcher_.on_gone(now, std::move(why));
    if (!was_gone) tell(watcher_.notice(now));
  }

  // On a terminal the picture says it.
  void tell(std::string_view text) {
    if (!screen_->size()) cli_.err(std::format("masque-vpn: {}\n", text));
  }

  Result<void, SysError> draw() {
    const Instant now = screen_->now();
    if (options_.json) return screen_->write(draw_json(watcher_, now, screen_->wall_clock()));
    const auto size = screen_->size();
    if (!size) return screen_->write(draw_lines(watcher_, screen_->wall_clock().substr(11, 8)));
    return screen_->write(to_terminal(draw_frame(
        watcher_, now, {.columns = size->columns, .rows = size->rows, .charset = charset_})));
  }

  const CliContext& cli_;
  const WatchOptions& options_;
  std::string socket_;
  Duration interval_;
  Charset charset_;
  Watcher watcher_;
  std::unique_ptr<WatchScreen> screen_;
};

}  // namespace

int command_watch(const CliContext& cli, const WatchOptions& options) {
  const auto socket = cli.find_instance(options.instance);
  if (!socket) return socket.error();
  const auto reply = cli.ask(*socket, StatusRequest{});
  if (!reply) return reply.error();
  const auto first = read_watch_status(reply->status_json);
  if (!first) return cli.fail(kExitFailed, "the answer holds no status");
  if (!options.clients.empty() && first->role != "server") {
    return cli.fail(kExitUsage, "--client: this instance is a client itself; ask a server");
  }
  return Watch(cli, options, *socket).run(*first);
}

}  // namespace masque
