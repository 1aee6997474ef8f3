// SPDX-License-Identifier: Apache-2.0
#include "service/log/log_sink.h"

#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <format>

#include "host/clock.h"
#include "service/status_json.h"

namespace masque {

namespace {

constexpr std::string_view level_name(LogLevel level) {
  switch (level) {
    case LogLevel::Trace:
      return "trace";
    case LogLevel::Debug:
      return "debug";
    case LogLevel::Info:
      return "info";
    case LogLevel::Warn:
      return "warn";
    case LogLevel::Error:
      return "error";
    case LogLevel::Off:
      break;
  }
  return "off";
}

// syslog(3) priorities, as sd-daemon(3) wants them in front of the line.
constexpr int journal_priority(LogLevel level) {
  switch (level) {
    case LogLevel::Error:
      return 3;
    case LogLevel::Warn:
      return 4;
    case LogLevel::Info:
      return 6;
    default:
      return 7;
  }
}

// A value that has a space, a quote or anything unprintable is quoted, so that a line stays one
// line and nothing from a peer can look like another field or move the terminal's cursor.
std::string field_value(std::string_view value) {
  bool plain = !value.empty();
  for (const char c : value) {
    const auto byte = static_cast<unsigned char>(c);
    plain = plain && byte > 0x20 && byte != 0x7f && c != '"' && c != '\\' && c != '=';
  }
  if (plain) return std::string(value);
  std::string out = "\"";
  for (const char c : value) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      out += {'\\', c};
    } else if (byte < 0x20 || byte == 0x7f) {
      out += std::format("\\x{:02x}", byte);
    } else {
      out += c;
    }
  }
  return out + '"';
}

std::string timestamp(std::chrono::system_clock::time_point now) {
  return std::format("{:%FT%T}Z", std::chrono::floor<std::chrono::milliseconds>(now));
}

// poll() first, so that a full pipe is noticed without changing the descriptor's flags, which other
// processes share. A line of at most PIPE_BUF bytes then fits whole.
bool write_to_stderr(std::string_view line) {
  pollfd ready{.fd = STDERR_FILENO, .events = POLLOUT, .revents = 0};
  if (poll(&ready, 1, 0) <= 0 || (ready.revents & POLLOUT) == 0) return false;
  return ::write(STDERR_FILENO, line.data(), line.size()) == static_cast<ssize_t>(line.size());
}

}  // namespace

LogTarget detect_log_target() {
  const char* stream = getenv("JOURNAL_STREAM");
  struct stat info{};
  if (stream == nullptr || fstat(STDERR_FILENO, &info) != 0) return LogTarget::Terminal;
  return stream == std::format("{}:{}", info.st_dev, info.st_ino) ? LogTarget::Journal
                                                                  : LogTarget::Terminal;
}

StderrLogSink::StderrLogSink(LogFormat format, LogTarget target)
    : StderrLogSink(format, target, wall_clock_now, write_to_stderr) {}

StderrLogSink::StderrLogSink(LogFormat format, LogTarget target, Clock clock, Output output)
    : format_(format), target_(target), clock_(std::move(clock)), output_(std::move(output)) {}

bool StderrLogSink::take(std::string_view event, int64_t second, uint64_t& suppressed) {
  const std::lock_guard lock(mutex_);
  auto found = budgets_.find(event);
  if (found == budgets_.end() && budgets_.size() < kEventsMax) {
    found = budgets_.emplace(std::string(event), Budget{}).first;
  }
  Budget& budget = found == budgets_.end() ? shared_budget_ : found->second;
  if (budget.second != second) {
    budget.second = second;
    budget.lines = 0;
  }
  if (budget.lines >= kLinesPerSecond) {
    ++budget.suppressed;
    return false;
  }
  ++budget.lines;
  suppressed = std::exchange(budget.suppressed, 0);
  return true;
}

void StderrLogSink::write(LogLevel level, std::string_view event, LogFields fields) {
  const auto now = clock_();
  const int64_t second =
      std::chrono::duration_cast<std::chrono::seconds>(now.time_since_epoch()).count();
  uint64_t suppressed = 0;
  if (!take(event, second, suppressed)) return;
  std::string line = format_ == LogFormat::Json
                         ? format_json(level, event, fields, suppressed, now)
                         : format_text(level, event, fields, suppressed, now);
  if (line.size() >= kLineBytesMax) line.resize(kLineBytesMax - 1);
  line += '\n';
  if (!output_(line)) ++lost_;
}

std::string StderrLogSink::format_text(LogLevel level, std::string_view event, LogFields fields,
                                       uint64_t suppressed,
                                       std::chrono::system_clock::time_point now) const {
  std::string line = target_ == LogTarget::Journal
                         ? std::format("<{}>{}", journal_priority(level), event)
                         : std::format("{} {} {}", timestamp(now), level_name(level), event);
  for (const auto& field : fields)
    line += std::format(" {}={}", field.key, field_value(field.value));
  if (suppressed > 0) line += std::format(" suppressed={}", suppressed);
  return line;
}

std::string StderrLogSink::format_json(LogLevel level, std::string_view event, LogFields fields,
                                       uint64_t suppressed,
                                       std::chrono::system_clock::time_point now) const {
  Json out = {{"time", timestamp(now)}, {"level", level_name(level)}, {"event", event}};
  for (const auto& field : fields) out[std::string(field.key)] = field.value;
  if (suppressed > 0) out["suppressed"] = suppressed;
  const std::string prefix =
      target_ == LogTarget::Journal ? std::format("<{}>", journal_priority(level)) : "";
  return prefix + dump_json(out);
}

}  // namespace masque
