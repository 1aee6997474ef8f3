// SPDX-License-Identifier: Apache-2.0
// Builds right TCP and UDP packets for tests, fuzz targets and the simulator: every length and
// checksum is filled in. Not for the packet path: it allocates.
#pragma once

#include <cstdint>
#include <vector>

#include "base/bytes.h"
#include "core/ip/address.h"
#include "core/ip/packet.h"

namespace masque {

struct PacketSpec {
  IpAddress source = IpAddress::v4(0xc0000201);
  IpAddress destination = IpAddress::v4(0xc0000202);
  uint8_t protocol = ip_protocol::kTcp;  // TCP or UDP; others get the payload as it is
  uint8_t traffic_class = 0;             // TOS
  uint8_t ttl = 64;
  uint32_t flow_label = 0;           // IPv6
  uint16_t id = 0;                   // IPv4
  uint16_t fragment_field = 0x4000;  // IPv4: DF
  uint16_t source_port = 1000;
  uint16_t destination_port = 2000;
  uint32_t sequence = 0;
  uint32_t acknowledgement = 1;
  uint8_t flags = 0x10;  // ACK
  uint16_t window = 1024;
  std::vector<uint8_t> ip_options;   // IPv4; whole words
  std::vector<uint8_t> tcp_options;  // whole words
  std::vector<uint8_t> payload;
};

std::vector<uint8_t> build_packet(const PacketSpec& spec);
// Makes the IPv4 header checksum right again.
void refresh_ipv4_checksum(MutableBytes packet);

}  // namespace masque
