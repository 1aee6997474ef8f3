// SPDX-License-Identifier: Apache-2.0
// The TUN's offload header and super-packet: nothing past the packet, and every segment is a right
// packet.
#include <algorithm>
#include <vector>

#include "core/ip/checksum.h"
#include "core/ip/packet_builder.h"
#include "core/ip/segment.h"
#include "tests/fuzz/fuzz_input.h"

using namespace masque;

namespace {

void check_segment(const PacketSlices& slices) {
  std::vector<uint8_t> segment(slices.head.begin(), slices.head.end());
  segment.insert(segment.end(), slices.body.begin(), slices.body.end());
  const auto view = parse_ip_packet(segment);
  MASQUE_ASSERT(view.has_value());
  const Bytes transport = Bytes(segment).subspan(view->transport_offset);
  InternetSum sum;
  sum.add_pseudo_header(view->source, view->destination, view->protocol,
                        static_cast<uint32_t>(transport.size()));
  sum.add(transport);
  MASQUE_ASSERT(sum.checksum() == 0);
}

void repair(std::vector<uint8_t>& packet, OffloadInfo& info) {
  const size_t size = packet.size();
  if (size >= kIpv4HeaderSize && packet[0] >> 4 == 4 && (packet[0] & 0x0fu) * 4 <= size) {
    store_be16(packet.data() + 2, static_cast<uint16_t>(size));
    refresh_ipv4_checksum(packet);
  } else if (size >= kIpv6HeaderSize && packet[0] >> 4 == 6) {
    store_be16(packet.data() + 4, static_cast<uint16_t>(size - kIpv6HeaderSize));
  }
  if (const auto view = parse_ip_packet(packet)) {
    const bool is_udp = view->protocol == ip_protocol::kUdp;
    info.checksum_start = view->transport_offset;
    info.checksum_offset = is_udp ? 6 : 16;
    if (is_udp && size >= view->transport_offset + size_t{8}) {
      store_be16(packet.data() + view->transport_offset + 4,
                 static_cast<uint16_t>(size - view->transport_offset));
    }
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  FuzzInput in(data, size);
  const uint8_t mode = in.u8();
  OffloadInfo info{.gso = static_cast<GsoType>(mode % 4),
                   .checksum = mode & 4 ? ChecksumState::Partial : ChecksumState::Complete,
                   .header_length = in.u16(),
                   .gso_size = in.u16(),
                   .checksum_start = in.u16(),
                   .checksum_offset = in.u16()};
  const Bytes rest = in.rest();
  std::vector<uint8_t> packet(rest.begin(), rest.end());
  packet.shrink_to_fit();
  if (mode & 8) repair(packet, info);

  auto splitter = SuperPacketSplitter::make(info, packet);
  if (!splitter) return 0;
  MASQUE_ASSERT(splitter->count() >= 1 && splitter->count() <= kSegmentsMax);
  PacketSlices slices;
  size_t count = 0;
  size_t payload = 0;
  size_t head = 0;
  while (splitter->next(slices)) {
    MASQUE_ASSERT(slices.size() <= splitter->packet_size_max());
    if (info.gso != GsoType::None) check_segment(slices);
    head = slices.head.size();
    payload += slices.body.size();
    ++count;
  }
  MASQUE_ASSERT(count == splitter->count() && head + payload == packet.size());
  MASQUE_ASSERT(!splitter->next(slices));
  return 0;
}
