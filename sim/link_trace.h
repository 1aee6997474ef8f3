// SPDX-License-Identifier: Apache-2.0
// A recorded link, played again: a list of moments at which it could carry one packet of 1500
// bytes, in the form that mahimahi made common. Each line of the text is a time in whole
// milliseconds from the start, never smaller than the one before; two equal lines are two packets.
// The last line is also the length of the trace, after which it repeats. Smaller packets share an
// opportunity and a larger one takes several; what nobody uses is lost.
#pragma once

#include <cstdint>
#include <expected>
#include <string>
#include <string_view>
#include <vector>

#include "base/time.h"

namespace masque {

class LinkTrace {
 public:
  static constexpr size_t kOpportunityBytes = 1500;
  static constexpr size_t kOpportunitiesMax = 8'000'000;  // 32 MiB: a minute at 1.6 Gbit/s

  // How far the opportunities are used up.
  struct Position {
    uint64_t index = 0;  // counted on through the repetitions
    size_t used = 0;     // bytes of that opportunity
  };

  // The error names the line.
  static std::expected<LinkTrace, std::string> parse(std::string_view text);

  // When a packet that comes at `now` has left, times counted from the start of the trace. Moves
  // the position.
  Duration send(Duration now, size_t size, Position& position) const;
  // Bytes that packets before `position` still have to wait for.
  size_t queued_bytes(Duration now, const Position& position) const;

  size_t opportunities() const { return times_ms_.size(); }
  Duration period() const { return period_; }
  uint64_t mean_bits_per_second() const;

 private:
  uint64_t first_at_or_after(Duration now) const;
  Duration time(uint64_t index) const;

  std::vector<uint32_t> times_ms_;
  Duration period_{};
};

}  // namespace masque
