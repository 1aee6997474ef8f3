// SPDX-License-Identifier: Apache-2.0
// The terminal of a command that draws in place: the alternate screen, single keys without echo,
// and signals that end it as requests, so that the terminal is always given back as it was.
#pragma once

#include <signal.h>
#include <termios.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string_view>

#include "base/result.h"
#include "base/time.h"
#include "host/unique_fd.h"

namespace masque {

class Terminal {
 public:
  struct Size {
    size_t columns = 80;
    size_t rows = 24;
  };

  // ENOTTY: standard output is no terminal. Before any other thread runs.
  static Result<std::unique_ptr<Terminal>, SysError> take();
  ~Terminal();  // gives it back
  Terminal(const Terminal&) = delete;
  Terminal& operator=(const Terminal&) = delete;

  Size size() const;
  void write(std::string_view text);

  // End: q, Ctrl-C, Ctrl-D, or SIGINT, SIGTERM, SIGHUP; also when the terminal is gone.
  enum class Event : uint8_t { Time, Resized, End };
  Event wait_until(Instant deadline);

 private:
  Terminal() = default;
  Event read_keys();
  Event read_signals();

  UniqueFd signals_;
  sigset_t former_signals_{};
  std::optional<termios> former_mode_;  // of standard input, when that is a terminal
  bool reads_keys_ = false;
  bool drawn_ = false;
};

}  // namespace masque
