// SPDX-License-Identifier: Apache-2.0
// What tunnel, HTTP, QUIC and path tell one another about an inner packet: how it wants to be
// treated on its way out, and what is known of its journey when it has come in.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>

#include "base/time.h"

namespace masque {

// Packets of different classes never share a QUIC packet.
enum class TrafficClass : uint8_t {
  Bulk,      // light code, released in order, waits in fair queues under AQM
  RealTime,  // strong code, small delay budget, released at send time + target; goes first
};
constexpr size_t kTrafficClasses = 2;

// Of one HTTP Datagram from the peer. As it stands here it says nothing is known (no path layer, or
// a DATAGRAM capsule): the packet is delivered at once.
struct DatagramOrigin {
  TrafficClass traffic_class = TrafficClass::Bulk;
  // When it came (recovered packets: when it was recovered) minus the sender's stamp. The two
  // clocks are an unknown but constant offset apart, so that only differences mean something; it
  // may be negative. nullopt: no stamp.
  std::optional<Duration> relative_delay;
  // How long it has waited since then for packets before it.
  Duration held{};
};

}  // namespace masque
