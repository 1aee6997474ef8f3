// SPDX-License-Identifier: Apache-2.0
// Datagrams that came before their request stream could take them: they overtook the request, or
// the request is still being decided upon. RFC 9297 2.1: dropped, or kept for about a round trip.
// Bounded in number; what is too old neither takes a place nor is delivered.
#pragma once

#include <cstdint>
#include <vector>

#include "base/bytes.h"
#include "base/id.h"
#include "base/time.h"

namespace masque {

class EarlyDatagrams {
 public:
  // The request follows within a round trip, unless it was lost; on the shortest paths the ends
  // themselves take longer than the network.
  static constexpr Duration kLifetimeMin = 20ms;
  static constexpr Duration kLifetimeMax = 1s;

  explicit EarlyDatagrams(size_t count_max) : count_max_(count_max) {}

  // Dropped when there are `count_max` already.
  void keep(Instant now, Duration round_trip, StreamId stream, Bytes payload);
  // The stream's datagrams in the order of their arrival; they are not kept any longer.
  std::vector<std::vector<uint8_t>> take(Instant now, StreamId stream);
  void forget(StreamId stream);
  size_t count() const { return kept_.size(); }

 private:
  struct Kept {
    StreamId stream;
    Instant expires;
    std::vector<uint8_t> payload;
  };
  void expire(Instant now);

  size_t count_max_;
  std::vector<Kept> kept_;
};

}  // namespace masque
