// SPDX-License-Identifier: Apache-2.0
#include "base/log.h"

#include <atomic>

namespace masque {

namespace {
std::atomic<LogSink*> g_sink = nullptr;
std::atomic<LogLevel> g_level = LogLevel::Info;
}  // namespace

void set_log_sink(LogSink* sink) { g_sink = sink; }
void set_log_level(LogLevel level) { g_level = level; }

bool log_enabled(LogLevel level) {
  return level >= g_level.load(std::memory_order_relaxed) &&
         g_sink.load(std::memory_order_relaxed) != nullptr;
}

void log(LogLevel level, std::string_view event, LogFields fields) {
  if (!log_enabled(level)) return;
  g_sink.load()->write(level, event, fields);
}

}  // namespace masque
