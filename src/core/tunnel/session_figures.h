// SPDX-License-Identifier: Apache-2.0
// What a session does with the classes of traffic, since it began, and what it found out about its
// tunnel, for `status`.
#pragma once

#include <array>

#include "core/path/traffic_class.h"
#include "core/tunnel/egress_queue.h"
#include "core/tunnel/mtu_probe.h"
#include "core/tunnel/release_queue.h"
#include "core/tunnel/traffic_classifier.h"

namespace masque {

struct ClassFigures {
  uint64_t classified = 0;   // packets to the peer
  size_t waiting_bytes = 0;  // in the queue, now
  // RFC 3550, of packets with a stamp: as they came from the network, and as they were handed on.
  Duration jitter_before{};
  Duration jitter_after{};
};

struct SessionFigures {
  std::array<ClassFigures, kTrafficClasses> classes;
  TrafficClassifier::Counters classifier;
  size_t waiting_packets = 0;
  EgressCounters queue;
  ReleaseFigures release;
  size_t release_waiting = 0;  // packets
  MtuProbe::State ipv6_probe = MtuProbe::State::Idle;

  ClassFigures& of(TrafficClass c) { return classes[static_cast<size_t>(c)]; }
  const ClassFigures& of(TrafficClass c) const { return classes[static_cast<size_t>(c)]; }
};

}  // namespace masque
