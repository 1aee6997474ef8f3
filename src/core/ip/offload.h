// SPDX-License-Identifier: Apache-2.0
// What accompanies a packet that crosses the TUN with segmentation or checksum offload: the meaning
// of struct virtio_net_hdr (virtio 1.2, 5.1.6) in fields of our own. host/tun_device turns one into
// the other.
#pragma once

#include <cstdint>

namespace masque {

enum class GsoType : uint8_t {
  None,   // one ordinary packet
  TcpV4,  // TSO
  TcpV6,
  Udp,  // UDP_L4 (USO), either family
};

enum class ChecksumState : uint8_t {
  Complete,  // the transport checksum is what belongs on the wire
  Partial,   // NEEDS_CSUM: its field holds the folded pseudo-header sum, the rest is to be added
};

struct OffloadInfo {
  GsoType gso = GsoType::None;
  ChecksumState checksum = ChecksumState::Complete;
  uint16_t header_length = 0;    // all headers; a hint only, never trusted on input
  uint16_t gso_size = 0;         // payload bytes of every segment but the last
  uint16_t checksum_start = 0;   // Partial: where the transport header begins
  uint16_t checksum_offset = 0;  // Partial: of the checksum field, counted from checksum_start
};

}  // namespace masque
