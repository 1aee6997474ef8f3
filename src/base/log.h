// SPDX-License-Identifier: Apache-2.0
// The log facade: an event name and fields, `log_info("session.up", {{"client", name}, {"ipv4",
// a}})`. The core logs through it without knowing where lines go: the sink is set once by the
// program (service/log_sink) and is null in tests. Never a secret, never inner payload; nothing per
// packet above Trace.
#pragma once

#include <format>
#include <initializer_list>
#include <string>
#include <string_view>

namespace masque {

enum class LogLevel : unsigned char { Trace, Debug, Info, Warn, Error, Off };

struct LogField {
  std::string_view key;
  std::string value;

  LogField(std::string_view k, std::string v) : key(k), value(std::move(v)) {}
  LogField(std::string_view k, std::string_view v) : key(k), value(v) {}
  LogField(std::string_view k, const char* v) : key(k), value(v) {}
  template <class T>
    requires std::integral<T> || std::floating_point<T>
  LogField(std::string_view k, T v) : key(k), value(std::format("{}", v)) {}
};
using LogFields = std::initializer_list<LogField>;

class LogSink {
 public:
  virtual ~LogSink() = default;
  virtual void write(LogLevel level, std::string_view event, LogFields fields) = 0;
};

// Both are set once at start, before any other thread runs (reload may change the level).
void set_log_sink(LogSink* sink);
void set_log_level(LogLevel level);
bool log_enabled(LogLevel level);
void log(LogLevel level, std::string_view event, LogFields fields);

inline void log_debug(std::string_view event, LogFields fields = {}) {
  if (log_enabled(LogLevel::Debug)) log(LogLevel::Debug, event, fields);
}
inline void log_info(std::string_view event, LogFields fields = {}) {
  log(LogLevel::Info, event, fields);
}
inline void log_warn(std::string_view event, LogFields fields = {}) {
  log(LogLevel::Warn, event, fields);
}
inline void log_error(std::string_view event, LogFields fields = {}) {
  log(LogLevel::Error, event, fields);
}

}  // namespace masque
