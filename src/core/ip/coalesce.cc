// SPDX-License-Identifier: Apache-2.0
#include "core/ip/coalesce.h"

#include <algorithm>
#include <cstring>
#include <optional>

#include "core/ip/checksum.h"
#include "core/ip/transport.h"

namespace masque {

namespace {

// Slots are not a power of two apart, so that their starts do not fall into the same cache sets.
constexpr size_t kSlotSize = PacketCoalescer::kHeadroom + 65536 + 64;

// What names a flow, in the bytes of the packet: addresses and ports.
using FlowKey = std::array<uint8_t, 36>;

FlowKey key_of(const IpPacketView& view, Bytes packet) {
  FlowKey key{};
  const size_t addresses = 2 * address_bytes(view.version);
  std::memcpy(key.data(), packet.data() + (view.version == IpVersion::V4 ? 12 : 8), addresses);
  std::memcpy(key.data() + 32, packet.data() + view.transport_offset, 4);
  return key;
}

bool transport_checksum_right(const IpPacketView& view, Bytes transport) {
  InternetSum sum;
  sum.add_pseudo_header(view.source, view.destination, view.protocol,
                        static_cast<uint32_t>(transport.size()));
  sum.add(transport);
  return sum.checksum() == 0;
}

// The size of a TCP header whose segment may be merged; 0 = not.
size_t mergeable_tcp_header(Bytes transport) {
  const size_t size = tcp::header_size(transport).value_or(0);
  if (size == 0 || size == transport.size()) return 0;  // a pure ACK has nothing to merge
  const uint8_t flags = transport[tcp::kFlags];
  if ((flags | tcp::kPsh) != (tcp::kAck | tcp::kPsh)) return 0;
  if ((transport[tcp::kDataOffset] & 0x0f) != 0) return 0;
  return load_be16(transport.data() + tcp::kUrgentPointer) == 0 ? size : 0;
}

size_t mergeable_udp_header(Bytes transport) {
  if (transport.size() <= udp::kHeaderSize) return 0;
  if (load_be16(transport.data() + udp::kLength) != transport.size()) return 0;
  return load_be16(transport.data() + udp::kChecksum) != 0 ? udp::kHeaderSize : 0;
}

bool plain_ip_header(const IpPacketView& view, Bytes packet) {
  if (view.fragment != Fragment::Whole) return false;
  if (view.version == IpVersion::V6) return view.transport_offset == kIpv6HeaderSize;
  return view.header_length == kIpv4HeaderSize && (packet[6] & 0x80) == 0;  // the reserved flag
}

bool same_bytes(const uint8_t* a, const uint8_t* b, size_t from, size_t to) {
  return std::memcmp(a + from, b + from, to - from) == 0;
}

}  // namespace

// A packet that may be merged with others like it.
struct PacketCoalescer::Candidate {
  FlowKey key;
  IpVersion version;
  uint8_t protocol;
  uint16_t transport_offset;
  uint16_t head_size;
  uint32_t payload_size;
  uint32_t sequence;  // TCP
  uint16_t id;        // IPv4
  bool push;          // TCP PSH: nothing may follow it
};

struct PacketCoalescer::Flow {
  enum class Ids : uint8_t { Undecided, Rising, Fixed };

  Candidate first;
  uint8_t* data;  // of the super-packet
  size_t size;
  size_t result;  // its place in results_
  uint32_t packets = 1;
  uint32_t next_sequence;  // TCP
  Ids ids = Ids::Undecided;
  bool open = true;

  // The kernel's same_flow: everything in the headers that must not differ between segments.
  bool same_headers(const uint8_t* other) const;
  bool accepts_id(uint16_t id, bool dont_fragment) const;
  bool accepts(const Candidate& next, const uint8_t* packet) const;
};

bool PacketCoalescer::Flow::same_headers(const uint8_t* other) const {
  if (first.version == IpVersion::V4) {
    // Version and TOS; fragment flags, TTL and protocol. Addresses are in the key.
    if (!same_bytes(data, other, 0, 2) || !same_bytes(data, other, 6, 10)) return false;
  } else if (!same_bytes(data, other, 0, 4) || !same_bytes(data, other, 6, 8)) {
    return false;  // traffic class and flow label; next header and hop limit
  }
  if (first.protocol == ip_protocol::kUdp) return true;
  const uint8_t* a = data + first.transport_offset;
  const uint8_t* b = other + first.transport_offset;
  // Acknowledgement and data offset, which makes both headers equally long; window; options. PSH
  // may differ: it was looked at before.
  return same_bytes(a, b, 8, tcp::kFlags) && same_bytes(a, b, 14, 16) &&
         same_bytes(a, b, tcp::kHeaderSize, first.head_size - first.transport_offset);
}

bool PacketCoalescer::Flow::accepts_id(uint16_t id, bool dont_fragment) const {
  const bool rising = id == static_cast<uint16_t>(first.id + packets);
  const bool fixed =
      id == first.id && dont_fragment;  // RFC 6864 4.1: the id of an atomic datagram is nothing
  switch (ids) {
    case Ids::Undecided:
      return rising || fixed;
    case Ids::Rising:
      return rising;
    case Ids::Fixed:
      return fixed;
  }
  return false;
}

bool PacketCoalescer::Flow::accepts(const Candidate& next, const uint8_t* packet) const {
  if (next.payload_size > first.payload_size) return false;
  if (size + next.payload_size > kPacketSizeMax) return false;
  if (first.protocol == ip_protocol::kUdp) {
    if (packets >= kUdpSegmentsMax) return false;
  } else if (next.sequence != next_sequence) {
    return false;
  }
  if (first.version == IpVersion::V4 && !accepts_id(next.id, (packet[6] & 0x40) != 0)) return false;
  return same_headers(packet);
}

PacketCoalescer::PacketCoalescer(Merge merge)
    : merge_(merge),
      flow_bytes_(std::make_unique_for_overwrite<uint8_t[]>(kFlowsMax * kSlotSize)),
      alone_bytes_(std::make_unique_for_overwrite<uint8_t[]>(kAloneBytes)) {
  flows_.reserve(kFlowsMax);
  results_.reserve(kPacketsMax);
}

PacketCoalescer::~PacketCoalescer() = default;

bool PacketCoalescer::add(const IpPacketView& view, Bytes packet) {
  MASQUE_ASSERT(packet.size() == view.length && packet.size() <= kPacketSizeMax);
  if (flushed_) {
    flushed_ = false;
    flows_.clear();
    results_.clear();
    alone_used_ = 0;
  }
  const bool is_tcp = view.protocol == ip_protocol::kTcp;
  const bool mergeable = (is_tcp && merge_ != Merge::Nothing) ||
                         (view.protocol == ip_protocol::kUdp && merge_ == Merge::TcpAndUdp);
  const Bytes transport = packet.subspan(view.transport_offset);
  size_t header = 0;
  if (mergeable && plain_ip_header(view, packet)) {
    header = is_tcp ? mergeable_tcp_header(transport) : mergeable_udp_header(transport);
  }
  const bool ports_known = (is_tcp || view.protocol == ip_protocol::kUdp) &&
                           transport.size() >= 4 && view.fragment != Fragment::Later;
  if (header != 0 && !transport_checksum_right(view, transport)) {
    ++counters_.bad_checksum;
    header = 0;
  }

  bool added = false;
  if (header != 0) {
    added = add_candidate(
        Candidate{.key = key_of(view, packet),
                  .version = view.version,
                  .protocol = view.protocol,
                  .transport_offset = view.transport_offset,
                  .head_size = static_cast<uint16_t>(view.transport_offset + header),
                  .payload_size = static_cast<uint32_t>(transport.size() - header),
                  .sequence = is_tcp ? load_be32(transport.data() + tcp::kSequence) : 0,
                  .id = view.version == IpVersion::V4 ? load_be16(packet.data() + 4) : uint16_t{0},
                  .push = is_tcp && (transport[tcp::kFlags] & tcp::kPsh) != 0},
        packet);
  } else {
    close_flows(view, packet, ports_known);
    added = add_alone(packet);
  }
  ++(added ? counters_.packets : counters_.full);
  return added;
}

bool PacketCoalescer::add_candidate(const Candidate& candidate, Bytes packet) {
  // The newest first: at most one flow with this key is open.
  for (size_t i = flows_.size(); i-- > 0;) {
    Flow& flow = flows_[i];
    if (!flow.open || flow.first.protocol != candidate.protocol ||
        flow.first.version != candidate.version || flow.first.key != candidate.key) {
      continue;
    }
    if (flow.accepts(candidate, packet.data())) {
      append(flow, candidate, packet);
      return true;
    }
    flow.open = false;
    break;
  }
  return candidate.push ? add_alone(packet) : start_flow(candidate, packet);
}

bool PacketCoalescer::start_flow(const Candidate& candidate, Bytes packet) {
  if (flows_.size() == kFlowsMax || results_.size() == kPacketsMax) return false;
  uint8_t* data = flow_bytes_.get() + flows_.size() * kSlotSize + kHeadroom;
  std::memcpy(data, packet.data(), packet.size());
  flows_.push_back(Flow{.first = candidate,
                        .data = data,
                        .size = packet.size(),
                        .result = results_.size(),
                        .next_sequence = candidate.sequence + candidate.payload_size});
  results_.push_back({.offload = {}, .packet = MutableBytes(data, packet.size())});
  return true;
}

void PacketCoalescer::append(Flow& flow, const Candidate& candidate, Bytes packet) {
  std::memcpy(flow.data + flow.size, packet.data() + candidate.head_size, candidate.payload_size);
  if (flow.packets == 1) {
    flow.ids = candidate.id == flow.first.id ? Flow::Ids::Fixed : Flow::Ids::Rising;
  }
  flow.size += candidate.payload_size;
  flow.next_sequence += candidate.payload_size;
  ++flow.packets;
  ++counters_.merged;
  if (candidate.push) flow.data[candidate.transport_offset + tcp::kFlags] |= tcp::kPsh;
  // A segment that is shorter or pushed is the last of its super-packet.
  if (candidate.push || candidate.payload_size < flow.first.payload_size) flow.open = false;
}

bool PacketCoalescer::add_alone(Bytes packet) {
  const size_t needed = kHeadroom + (packet.size() + kHeadroom - 1) / kHeadroom * kHeadroom;
  if (kAloneBytes - alone_used_ < needed || results_.size() == kPacketsMax) return false;
  uint8_t* data = alone_bytes_.get() + alone_used_ + kHeadroom;
  std::memcpy(data, packet.data(), packet.size());
  alone_used_ += needed;
  results_.push_back({.offload = {}, .packet = MutableBytes(data, packet.size())});
  return true;
}

// A packet that passes alone must not be overtaken by later ones of its flow: what it may belong to
// is not added to any more. Without ports (later fragments) that is everything between the two
// addresses.
void PacketCoalescer::close_flows(const IpPacketView& view, Bytes packet, bool ports_known) {
  if (flows_.empty()) return;
  FlowKey key{};
  const size_t addresses = 2 * address_bytes(view.version);
  std::memcpy(key.data(), packet.data() + (view.version == IpVersion::V4 ? 12 : 8), addresses);
  if (ports_known) std::memcpy(key.data() + 32, packet.data() + view.transport_offset, 4);
  const size_t compared = ports_known ? key.size() : 32;
  for (Flow& flow : flows_) {
    if (flow.first.version == view.version &&
        std::memcmp(flow.first.key.data(), key.data(), compared) == 0) {
      flow.open = false;
    }
  }
}

std::span<const CoalescedPacket> PacketCoalescer::flush() {
  if (flushed_) return {};
  for (const Flow& flow : flows_) {
    if (flow.packets > 1) finish(flow);
  }
  flushed_ = true;
  return results_;
}

// Makes the headers those of the whole, as the kernel wants them from a driver: lengths of the
// super-packet and the folded pseudo-header sum in the transport checksum.
void PacketCoalescer::finish(const Flow& flow) {
  uint8_t* p = flow.data;
  const Candidate& first = flow.first;
  const bool v4 = first.version == IpVersion::V4;
  if (v4) {
    store_be16(p + 2, static_cast<uint16_t>(flow.size));
    store_be16(p + 10, 0);
    store_be16(p + 10, internet_checksum(Bytes(p, kIpv4HeaderSize)));
  } else {
    store_be16(p + 4, static_cast<uint16_t>(flow.size - kIpv6HeaderSize));
  }

  const size_t transport_size = flow.size - first.transport_offset;
  uint8_t* transport = p + first.transport_offset;
  const bool is_udp = first.protocol == ip_protocol::kUdp;
  if (is_udp) store_be16(transport + udp::kLength, static_cast<uint16_t>(transport_size));
  InternetSum pseudo;
  pseudo.add(Bytes(first.key).first(v4 ? 8 : 32));
  pseudo.add_u16(first.protocol);
  pseudo.add_u16(static_cast<uint16_t>(transport_size));
  const size_t checksum_offset = is_udp ? udp::kChecksum : tcp::kChecksum;
  store_be16(transport + checksum_offset, pseudo.folded());

  CoalescedPacket& result = results_[flow.result];
  result.packet = MutableBytes(p, flow.size);
  result.packets = flow.packets;
  result.offload = {.gso = is_udp ? GsoType::Udp : (v4 ? GsoType::TcpV4 : GsoType::TcpV6),
                    .checksum = ChecksumState::Partial,
                    .header_length = first.head_size,
                    .gso_size = static_cast<uint16_t>(first.payload_size),
                    .checksum_start = first.transport_offset,
                    .checksum_offset = static_cast<uint16_t>(checksum_offset)};
}

}  // namespace masque
