// SPDX-License-Identifier: Apache-2.0
// One number for the flow of an inner packet: addresses, protocol, ports (ESP: the SPI).
// Fragments count without ports, because only the first of them has any, so that all fragments of
// a flow stay together and in order. Keyed with a secret (SipHash-1-3): who does not know the seed
// cannot aim flows at one bucket.
#pragma once

#include <cstdint>

#include "core/ip/packet.h"

namespace masque {

class FlowHash {
 public:
  struct Ports {
    uint16_t source = 0;
    uint16_t destination = 0;
  };

  explicit FlowHash(uint64_t seed) : seed_(seed) {}
  // `head` holds the headers of the packet.
  uint64_t operator()(const IpPacketView& view, Bytes head) const;

 private:
  uint64_t seed_;
};

// Of a whole TCP or UDP packet; zeros when there are none to be seen.
FlowHash::Ports ports_of(const IpPacketView& view, Bytes head);

}  // namespace masque
