// SPDX-License-Identifier: Apache-2.0
#include "service/watch/watch_screen.h"

#include <format>

#include "host/clock.h"
#include "host/system.h"
#include "host/terminal.h"
#include "service/standard_output.h"

namespace masque {

namespace {

class SystemScreen : public WatchScreen {
 public:
  Instant now() override { return monotonic_now(); }
  std::string wall_clock() override {
    return std::format("{:%FT%T}Z",
                       std::chrono::floor<std::chrono::milliseconds>(wall_clock_now()));
  }
};

// Ctrl-C ends the program, as it does any that writes lines.
class LineScreen final : public SystemScreen {
 public:
  std::optional<Size> size() override { return std::nullopt; }
  Result<void, SysError> write(std::string_view text) override {
    return write_standard_output(text);
  }
  Event wait_until(Instant deadline) override {
    sys::sleep(std::max<Duration>(deadline - monotonic_now(), 0ns));
    return Event::Time;
  }
};

class TerminalScreen final : public SystemScreen {
 public:
  explicit TerminalScreen(std::unique_ptr<Terminal> terminal) : terminal_(std::move(terminal)) {}
  std::optional<Size> size() override {
    const Terminal::Size size = terminal_->size();
    return Size{.columns = size.columns, .rows = size.rows};
  }
  Result<void, SysError> write(std::string_view text) override {
    terminal_->write(text);
    return {};
  }
  Event wait_until(Instant deadline) override {
    switch (terminal_->wait_until(deadline)) {
      case Terminal::Event::Time:
        return Event::Time;
      case Terminal::Event::Resized:
        return Event::Resized;
      case Terminal::Event::End:
        return Event::End;
    }
    std::unreachable();
  }

 private:
  std::unique_ptr<Terminal> terminal_;
};

}  // namespace

std::unique_ptr<WatchScreen> system_watch_screen(WatchOutput output) {
  if (output == WatchOutput::InPlace) {
    if (auto terminal = Terminal::take())
      return std::make_unique<TerminalScreen>(std::move(*terminal));
  }
  return std::make_unique<LineScreen>();
}

}  // namespace masque
