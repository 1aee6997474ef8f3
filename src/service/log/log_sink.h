// SPDX-License-Identifier: Apache-2.0
// Log lines on stderr: "2026-01-31T12:00:00.123Z info session.up client=anna ipv4=10.8.0.2", or
// under systemd (JOURNAL_STREAM) without time and with the priority in front ("<6>session.up ..."),
// or one JSON object a line. At most kLinesPerSecond of one event a second; the next line of it
// says how many were left out (faults.md C2). A blocked pipe or full disk loses lines, counted, and
// never blocks the program (K4).
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <string_view>

#include "base/log.h"
#include "service/config/config.h"

namespace masque {

enum class LogTarget : uint8_t { Terminal, Journal };
// Journal when stderr is the stream that systemd named in JOURNAL_STREAM.
LogTarget detect_log_target();

class StderrLogSink final : public LogSink {
 public:
  static constexpr uint32_t kLinesPerSecond = 10;
  static constexpr size_t kEventsMax =
      512;  // events that are counted apart; the rest share one count
  static constexpr size_t kLineBytesMax = 4096;

  using Clock = std::function<std::chrono::system_clock::time_point()>;
  // Writes one whole line; false when it could not.
  using Output = std::function<bool(std::string_view line)>;

  StderrLogSink(LogFormat format, LogTarget target);
  StderrLogSink(LogFormat format, LogTarget target, Clock clock, Output output);  // tests

  void write(LogLevel level, std::string_view event, LogFields fields) override;
  uint64_t lines_lost() const { return lost_; }  // could not be written

 private:
  struct Budget {
    int64_t second = 0;
    uint32_t lines = 0;
    uint64_t suppressed = 0;
  };
  // Whether the line may go out, and how many before it did not.
  bool take(std::string_view event, int64_t second, uint64_t& suppressed);
  std::string format_text(LogLevel level, std::string_view event, LogFields fields,
                          uint64_t suppressed, std::chrono::system_clock::time_point now) const;
  std::string format_json(LogLevel level, std::string_view event, LogFields fields,
                          uint64_t suppressed, std::chrono::system_clock::time_point now) const;

  LogFormat format_;
  LogTarget target_;
  Clock clock_;
  Output output_;
  std::mutex mutex_;
  std::map<std::string, Budget, std::less<>> budgets_;
  Budget shared_budget_;
  std::atomic<uint64_t> lost_ = 0;
};

}  // namespace masque
