// SPDX-License-Identifier: Apache-2.0
#include "host/terminal.h"

#include <poll.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "host/clock.h"
#include "host/system.h"

namespace masque {

namespace {

// Alternate screen, no cursor, no wrapping at the right edge; and back.
constexpr std::string_view kTake = "\x1b[?1049h\x1b[?25l\x1b[?7l";
constexpr std::string_view kGiveBack = "\x1b[?7h\x1b[?25h\x1b[?1049l";

constexpr char kControlC = 3;
constexpr char kControlD = 4;

int rest_ms(Instant deadline) {
  const Duration rest = std::clamp<Duration>(deadline - monotonic_now(), 0ns, 1h);
  return static_cast<int>(std::chrono::ceil<std::chrono::milliseconds>(rest).count());
}

}  // namespace

Result<std::unique_ptr<Terminal>, SysError> Terminal::take() {
  if (::isatty(STDOUT_FILENO) == 0) return sys::failure(ENOTTY, "draw on standard output");
  auto out = std::unique_ptr<Terminal>(new Terminal());
  sigset_t wanted;
  sigemptyset(&wanted);
  for (const int number : {SIGINT, SIGTERM, SIGHUP, SIGWINCH}) sigaddset(&wanted, number);
  if (const int code = ::pthread_sigmask(SIG_BLOCK, &wanted, &out->former_signals_); code != 0) {
    return sys::failure(code, "block signals");
  }
  out->signals_ = UniqueFd(::signalfd(-1, &wanted, SFD_CLOEXEC | SFD_NONBLOCK));
  if (!out->signals_.valid()) {
    const auto failed = sys::failure("make a signalfd");
    ::pthread_sigmask(SIG_SETMASK, &out->former_signals_, nullptr);
    return failed;
  }
  termios mode{};
  if (::tcgetattr(STDIN_FILENO, &mode) == 0) {
    out->former_mode_ = mode;
    // Keys one by one and unseen; Ctrl-C as a key, so that it is in order with the others.
    mode.c_lflag &= ~static_cast<tcflag_t>(ICANON | ECHO | ISIG);
    mode.c_cc[VMIN] = 0;
    mode.c_cc[VTIME] = 0;
    out->reads_keys_ = ::tcsetattr(STDIN_FILENO, TCSANOW, &mode) == 0;
  }
  out->drawn_ = true;
  out->write(kTake);
  return out;
}

Terminal::~Terminal() {
  if (!drawn_) return;
  write(kGiveBack);
  if (former_mode_) ::tcsetattr(STDIN_FILENO, TCSAFLUSH, &*former_mode_);
  ::pthread_sigmask(SIG_SETMASK, &former_signals_, nullptr);
}

Terminal::Size Terminal::size() const {
  winsize size{};
  if (::ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col == 0 || size.ws_row == 0)
    return {};
  return {.columns = size.ws_col, .rows = size.ws_row};
}

void Terminal::write(std::string_view text) {
  Bytes rest = as_bytes(text);
  while (!rest.empty()) {
    const auto written = sys::write(STDOUT_FILENO, rest);
    if (!written) return;  // gone: wait_until() will say so
    rest = rest.subspan(*written);
  }
}

Terminal::Event Terminal::read_keys() {
  char keys[64];
  const ssize_t count = ::read(STDIN_FILENO, keys, sizeof(keys));
  if (count <= 0) {
    if (count < 0 && (errno == EINTR || errno == EAGAIN)) return Event::Time;
    return Event::End;
  }
  const bool ends = std::any_of(keys, keys + count, [](char key) {
    return key == 'q' || key == 'Q' || key == kControlC || key == kControlD;
  });
  return ends ? Event::End : Event::Time;
}

Terminal::Event Terminal::read_signals() {
  Event out = Event::Time;
  signalfd_siginfo info{};
  while (::read(signals_.get(), &info, sizeof(info)) == sizeof(info)) {
    if (info.ssi_signo != SIGWINCH) return Event::End;
    out = Event::Resized;
  }
  return out;
}

Terminal::Event Terminal::wait_until(Instant deadline) {
  while (true) {
    const int rest = rest_ms(deadline);
    pollfd entries[] = {{.fd = signals_.get(), .events = POLLIN, .revents = 0},
                        {.fd = reads_keys_ ? STDIN_FILENO : -1, .events = POLLIN, .revents = 0}};
    const int ready = ::poll(entries, std::size(entries), rest);
    if (ready < 0 && errno != EINTR) return Event::End;
    if (ready > 0) {
      Event event = Event::Time;
      if (entries[0].revents != 0) event = read_signals();
      if (event != Event::End && entries[1].revents != 0) {
        if (read_keys() == Event::End) event = Event::End;
      }
      if (event != Event::Time) return event;
    }
    if (rest == 0) return Event::Time;
  }
}

}  // namespace masque
