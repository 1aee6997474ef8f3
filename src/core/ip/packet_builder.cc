// SPDX-License-Identifier: Apache-2.0
#include "core/ip/packet_builder.h"

#include <algorithm>

#include "core/ip/checksum.h"
#include "core/ip/transport.h"

namespace masque {

namespace {

std::vector<uint8_t> build_transport(const PacketSpec& spec) {
  ByteBuffer out;
  if (spec.protocol == ip_protocol::kTcp) {
    MASQUE_ASSERT(spec.tcp_options.size() % 4 == 0 && spec.tcp_options.size() <= 40);
    out.u16(spec.source_port);
    out.u16(spec.destination_port);
    out.u32(spec.sequence);
    out.u32(spec.acknowledgement);
    out.u8(static_cast<uint8_t>((tcp::kHeaderSize + spec.tcp_options.size()) / 4 << 4));
    out.u8(spec.flags);
    out.u16(spec.window);
    out.u32(0);  // checksum, urgent pointer
    out.bytes(spec.tcp_options);
  } else if (spec.protocol == ip_protocol::kUdp) {
    out.u16(spec.source_port);
    out.u16(spec.destination_port);
    out.u16(static_cast<uint16_t>(udp::kHeaderSize + spec.payload.size()));
    out.u16(0);
  }
  out.bytes(spec.payload);
  std::vector<uint8_t> transport = out.take();
  if (spec.protocol == ip_protocol::kTcp || spec.protocol == ip_protocol::kUdp) {
    InternetSum sum;
    sum.add_pseudo_header(spec.source, spec.destination, spec.protocol,
                          static_cast<uint32_t>(transport.size()));
    sum.add(transport);
    const uint16_t checksum = sum.checksum();
    const bool is_udp = spec.protocol == ip_protocol::kUdp;
    store_be16(transport.data() + (is_udp ? udp::kChecksum : tcp::kChecksum),
               is_udp && checksum == 0 ? uint16_t{0xffff} : checksum);
  }
  return transport;
}

}  // namespace

void refresh_ipv4_checksum(MutableBytes packet) {
  const size_t header = (packet[0] & 0x0fu) * 4;
  store_be16(packet.data() + 10, 0);
  store_be16(packet.data() + 10, internet_checksum(packet.first(header)));
}

std::vector<uint8_t> build_packet(const PacketSpec& spec) {
  const std::vector<uint8_t> transport = build_transport(spec);
  ByteBuffer out;
  if (spec.source.version() == IpVersion::V4) {
    MASQUE_ASSERT(spec.ip_options.size() % 4 == 0 && spec.ip_options.size() <= 40);
    const size_t header = kIpv4HeaderSize + spec.ip_options.size();
    MASQUE_ASSERT(header + transport.size() <= kPacketSizeMax);
    out.u8(static_cast<uint8_t>(0x40 | header / 4));
    out.u8(spec.traffic_class);
    out.u16(static_cast<uint16_t>(header + transport.size()));
    out.u16(spec.id);
    out.u16(spec.fragment_field);
    out.u8(spec.ttl);
    out.u8(spec.protocol);
    out.u16(0);
    out.bytes(spec.source.bytes());
    out.bytes(spec.destination.bytes());
    out.bytes(spec.ip_options);
  } else {
    MASQUE_ASSERT(transport.size() <= kPacketSizeMax - kIpv6HeaderSize);
    out.u32(0x60000000 | uint32_t{spec.traffic_class} << 20 | (spec.flow_label & 0xfffff));
    out.u16(static_cast<uint16_t>(transport.size()));
    out.u8(spec.protocol);
    out.u8(spec.ttl);
    out.bytes(spec.source.bytes());
    out.bytes(spec.destination.bytes());
  }
  out.bytes(transport);
  std::vector<uint8_t> packet = out.take();
  if (spec.source.version() == IpVersion::V4) refresh_ipv4_checksum(packet);
  return packet;
}

}  // namespace masque
