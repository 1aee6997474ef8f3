// SPDX-License-Identifier: Apache-2.0
// Where `masque-vpn watch` shows its picture, and its clock.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"
#include "base/time.h"

namespace masque {

class WatchScreen {
 public:
  struct Size {
    size_t columns = 80;
    size_t rows = 24;
  };
  enum class Event : uint8_t { Time, Resized, End };

  virtual ~WatchScreen() = default;
  virtual Instant now() = 0;
  virtual std::string wall_clock() = 0;  // "2026-01-31T12:00:00.123Z"
  // nullopt: no terminal, to be written to line by line.
  virtual std::optional<Size> size() = 0;
  virtual Result<void, SysError> write(std::string_view text) = 0;
  virtual Event wait_until(Instant deadline) = 0;
};

enum class WatchOutput : uint8_t {
  InPlace,  // on the terminal, if standard output is one
  Lines,
};
std::unique_ptr<WatchScreen> system_watch_screen(WatchOutput output);

}  // namespace masque
