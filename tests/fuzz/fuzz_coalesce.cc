// SPDX-License-Identifier: Apache-2.0
// Differential: packets merged for the TUN and split as the kernel splits them are the packets that
// came, in the order of their flows. The input is a little program that makes streams with faults
// in them.
#include <algorithm>
#include <map>
#include <string>
#include <vector>

#include "core/ip/coalesce.h"
#include "core/ip/packet_builder.h"
#include "core/ip/segment.h"
#include "tests/fuzz/fuzz_input.h"

using namespace masque;

namespace {

using Packet = std::vector<uint8_t>;
constexpr size_t kPacketsMax = 300;

std::vector<PacketSpec> flows() {
  const IpAddress v6a = IpAddress::parse("2001:db8::1").value();
  const IpAddress v6b = IpAddress::parse("2001:db8::2").value();
  return {
      {.source_port = 1},
      {.source_port = 2, .sequence = 0xffffff00},
      {.source = v6a, .destination = v6b},
      {.protocol = ip_protocol::kUdp},
      {.protocol = ip_protocol::kUdp, .fragment_field = 0, .source_port = 3},
      {.source = v6a, .destination = v6b, .protocol = ip_protocol::kUdp},
      {.protocol = ip_protocol::kIcmp},
      {.fragment_field = 0, .source_port = 4},
  };
}

// Three bytes of input: the flow, what happens, and how much.
Packet next_packet(std::vector<PacketSpec>& specs, FuzzInput& in) {
  const uint8_t which = in.u8();
  const uint8_t event = in.u8();
  const uint8_t amount = in.u8();
  PacketSpec& spec = specs[which % specs.size()];
  spec.payload.assign(event & 0x80 ? amount * size_t{20} : 64, amount);
  PacketSpec now = spec;
  switch (event % 20) {
    case 0:
      spec.acknowledgement += amount;
      break;
    case 1:
      spec.sequence += amount;
      break;
    case 2:
      spec.id = static_cast<uint16_t>(spec.id + amount);
      break;
    case 3:
      now.flags = amount;
      break;
    case 4:
      now.flags = 0x18;
      break;
    case 5:
      now.traffic_class = amount;
      break;
    case 6:
      now.ttl = amount;
      break;
    case 7:
      now.fragment_field = static_cast<uint16_t>(amount << 8 | amount);
      break;
    case 8:
      now.ip_options.resize(amount % 11 * size_t{4}, 1);
      break;
    case 9:
      now.tcp_options.resize(amount % 11 * size_t{4}, 1);
      break;
    case 10:
      now.window = amount;
      break;
    case 11:
      now.flow_label = amount;
      break;
    default:
      break;
  }
  Packet packet = build_packet(now);
  if (event % 20 == 12) packet[amount % packet.size()] ^= 0x10;
  if (event % 20 == 13 && packet[0] >> 4 == 4) {
    packet[amount % packet.size()] ^= 0x10;
    if (packet[0] == 0x45) refresh_ipv4_checksum(packet);
  }
  spec.sequence += static_cast<uint32_t>(spec.payload.size());
  if (which & 0x80) ++spec.id;
  return packet;
}

// RFC 6864 4.1: the id of an atomic datagram means nothing, and a fixed one rises in a split.
void forget_atomic_id(Packet& packet) {
  if (packet[0] >> 4 != 4 || (load_be16(packet.data() + 6) & 0x7fff) != 0x4000) return;
  store_be16(packet.data() + 4, 0);
  refresh_ipv4_checksum(packet);
}

std::map<std::string, std::vector<Packet>> by_flow(std::vector<Packet> packets) {
  std::map<std::string, std::vector<Packet>> out;
  for (Packet& packet : packets) {
    const IpPacketView view = parse_ip_packet(packet).value();
    std::string flow =
        view.source.to_string() + view.destination.to_string() + std::to_string(view.protocol);
    if (view.fragment != Fragment::Later)
      flow += to_hex(Bytes(packet)
                         .subspan(view.transport_offset)
                         .first(std::min<size_t>(4, packet.size() - view.transport_offset)));
    forget_atomic_id(packet);
    out[flow].push_back(std::move(packet));
  }
  return out;
}

void flush_into(PacketCoalescer& coalescer, std::vector<Packet>& out) {
  for (const CoalescedPacket& result : coalescer.flush()) {
    std::fill_n(result.packet.data() - PacketCoalescer::kHeadroom, PacketCoalescer::kHeadroom,
                uint8_t{0xee});
    auto splitter = SuperPacketSplitter::make(result.offload, result.packet);
    MASQUE_ASSERT(splitter && splitter->count() == result.packets);
    PacketSlices slices;
    while (splitter->next(slices)) {
      Packet packet(slices.head.begin(), slices.head.end());
      packet.insert(packet.end(), slices.body.begin(), slices.body.end());
      out.push_back(std::move(packet));
    }
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static PacketCoalescer coalescer(PacketCoalescer::Merge::TcpAndUdp);
  FuzzInput in(data, size);
  std::vector<PacketSpec> specs = flows();
  std::vector<Packet> before;
  std::vector<Packet> after;
  while (!in.empty() && before.size() < kPacketsMax) {
    Packet packet = next_packet(specs, in);
    const auto view = parse_ip_packet(packet);
    if (!view) continue;
    if (!coalescer.add(*view, packet)) {
      flush_into(coalescer, after);
      MASQUE_ASSERT(coalescer.add(*view, packet));
    }
    before.push_back(std::move(packet));
  }
  flush_into(coalescer, after);
  MASQUE_ASSERT(before.size() == after.size());
  MASQUE_ASSERT(by_flow(std::move(before)) == by_flow(std::move(after)));
  return 0;
}
