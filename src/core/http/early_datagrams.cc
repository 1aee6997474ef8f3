// SPDX-License-Identifier: Apache-2.0
#include "core/http/early_datagrams.h"

#include <algorithm>
#include <utility>

#include "base/mutant.h"

namespace masque {

void EarlyDatagrams::keep(Instant now, Duration round_trip, StreamId stream, Bytes payload) {
  expire(now);
  if (kept_.size() >= count_max_ + (mutant("early_datagrams.limit") ? 1 : 0)) return;
  const Duration lifetime = std::clamp(round_trip, kLifetimeMin, kLifetimeMax);
  kept_.push_back(
      {.stream = stream, .expires = now + lifetime, .payload = {payload.begin(), payload.end()}});
}

std::vector<std::vector<uint8_t>> EarlyDatagrams::take(Instant now, StreamId stream) {
  expire(now);
  std::vector<std::vector<uint8_t>> out;
  for (Kept& datagram : kept_) {
    if (datagram.stream == stream) out.push_back(std::move(datagram.payload));
  }
  forget(stream);
  return out;
}

void EarlyDatagrams::forget(StreamId stream) {
  std::erase_if(kept_, [&](const Kept& datagram) { return datagram.stream == stream; });
}

void EarlyDatagrams::expire(Instant now) {
  if (mutant("early_datagrams.expiry.remove")) return;
  std::erase_if(kept_, [&](const Kept& datagram) { return now >= datagram.expires; });
}

}  // namespace masque
