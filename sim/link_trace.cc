// SPDX-License-Identifier: Apache-2.0
#include "sim/link_trace.h"

#include <algorithm>
#include <charconv>
#include <chrono>
#include <format>

namespace masque {

namespace {

std::string_view trimmed(std::string_view line) {
  while (!line.empty() && (line.back() == '\r' || line.back() == ' ' || line.back() == '\t')) {
    line.remove_suffix(1);
  }
  return line;
}

}  // namespace

std::expected<LinkTrace, std::string> LinkTrace::parse(std::string_view text) {
  LinkTrace trace;
  size_t number = 0;
  while (!text.empty()) {
    const size_t end = std::min(text.find('\n'), text.size());
    const std::string_view line = trimmed(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
    ++number;
    if (line.empty() || line.front() == '#') continue;
    uint32_t at = 0;
    const auto [rest, error] = std::from_chars(line.data(), line.data() + line.size(), at);
    if (error != std::errc() || rest != line.data() + line.size()) {
      return std::unexpected(std::format("line {}: not a time in milliseconds", number));
    }
    if (!trace.times_ms_.empty() && at < trace.times_ms_.back()) {
      return std::unexpected(std::format("line {}: earlier than the line before", number));
    }
    if (trace.times_ms_.size() == kOpportunitiesMax) {
      return std::unexpected(std::format("line {}: more than {} lines", number, kOpportunitiesMax));
    }
    trace.times_ms_.push_back(at);
  }
  if (trace.times_ms_.empty() || trace.times_ms_.back() == 0) {
    return std::unexpected("the last line must be a time after 0: it is the trace's length");
  }
  trace.period_ = std::chrono::milliseconds(trace.times_ms_.back());
  return trace;
}

Duration LinkTrace::time(uint64_t index) const {
  const uint64_t count = times_ms_.size();
  return static_cast<int64_t>(index / count) * period_ +
         std::chrono::milliseconds(times_ms_[index % count]);
}

uint64_t LinkTrace::first_at_or_after(Duration now) const {
  if (now <= Duration::zero()) return 0;
  // The end of a repetition belongs to it: its last opportunity is there.
  const int64_t repetition = (now.count() - 1) / period_.count();
  const Duration within = now - repetition * period_;
  const auto found = std::lower_bound(
      times_ms_.begin(), times_ms_.end(), within,
      [](uint32_t at, Duration wanted) { return std::chrono::milliseconds(at) < wanted; });
  return static_cast<uint64_t>(repetition) * times_ms_.size() +
         static_cast<uint64_t>(found - times_ms_.begin());
}

Duration LinkTrace::send(Duration now, size_t size, Position& position) const {
  const uint64_t first = first_at_or_after(now);
  if (first > position.index) position = {.index = first};
  position.used += size;
  while (position.used > kOpportunityBytes) {
    position.used -= kOpportunityBytes;
    ++position.index;
  }
  return time(position.index);
}

size_t LinkTrace::queued_bytes(Duration now, const Position& position) const {
  const uint64_t first = first_at_or_after(now);
  if (first > position.index) return 0;
  return static_cast<size_t>(position.index - first) * kOpportunityBytes + position.used;
}

uint64_t LinkTrace::mean_bits_per_second() const {
  return times_ms_.size() * kOpportunityBytes * 8 * 1000 / times_ms_.back();
}

}  // namespace masque
