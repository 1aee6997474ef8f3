// SPDX-License-Identifier: Apache-2.0
// Fragments of an IPv4 packet for a link that is narrower than it, as a router makes them (RFC 791
// 3.2, RFC 1812 4.2.2.7). What is a fragment already is cut further. IPv6 has no such thing: only
// hosts fragment there (RFC 8200 5).
#pragma once

#include <array>
#include <cstdint>

#include "base/bytes.h"
#include "core/ip/packet.h"

namespace masque {

class Ipv4Fragmenter {
 public:
  // Every host takes packets of this size (RFC 791 3.1). On what is narrower nothing is cut, so
  // that a packet never becomes more than 128.
  static constexpr size_t kMtuMin = 576;

  // Whether the packet, parsed as `view`, is larger than `mtu` and may be cut to it.
  static bool can_cut(const PacketSlices& packet, const IpPacketView& view, size_t mtu);

  // For a packet that can_cut(); it must stay where it is until the last fragment is written.
  Ipv4Fragmenter(const PacketSlices& packet, const IpPacketView& view, size_t mtu);

  // Writes the next fragment, at most `mtu` bytes, and returns its size; 0: there was no other.
  size_t next(MutableBytes out);

 private:
  void copy_payload(size_t from, MutableBytes out) const;

  Bytes first_header_;
  std::array<uint8_t, 60> later_header_;  // with those options that go into every fragment
  size_t later_header_size_ = 0;
  Bytes payload_[2];
  size_t payload_size_ = 0;
  size_t done_ = 0;  // bytes of the payload
  size_t mtu_ = 0;
};

}  // namespace masque
