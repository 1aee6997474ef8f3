// SPDX-License-Identifier: Apache-2.0
#include "sim/inner.h"

#include <algorithm>
#include <cstring>
#include <format>

#include "core/ip/checksum.h"

namespace masque {

namespace {

constexpr uint16_t kMagic = 0x51ad;
constexpr size_t kIdSize = 8;
constexpr size_t kTransportHeader = 8;  // UDP and ICMP echo alike
constexpr Duration kFormerAddressLife = 3s;

uint64_t digest_of(Bytes bytes) {
  uint64_t h = 0xcbf29ce484222325 ^ bytes.size();
  for (const uint8_t byte : bytes) h = (h ^ byte) * 0x100000001b3;
  return h;
}

// Without what routers may change.
uint64_t normalised_digest(const IpPacketView& view, Bytes packet) {
  std::vector<uint8_t> copy(packet.begin(), packet.end());
  if (view.version == IpVersion::V4) {
    copy[1] &= 0xfc;
    copy[8] = copy[10] = copy[11] = 0;
  } else {
    copy[1] &= 0xcf;
    copy[7] = 0;
  }
  return digest_of(copy);
}

size_t header_size(IpVersion version) {
  return version == IpVersion::V4 ? kIpv4HeaderSize : kIpv6HeaderSize;
}

void put_id(ByteWriter& out, InnerId id) {
  out.u16(kMagic);
  out.u16(id.flow);
  out.u32(id.sequence);
}

}  // namespace

std::vector<uint8_t> make_udp_packet(const UdpContent& content) {
  const IpVersion version = content.source.version();
  const size_t head = header_size(version);
  const size_t least = head + kTransportHeader + kIdSize + content.data.size();
  std::vector<uint8_t> packet(std::max(least, content.packet_size));
  const auto upper = static_cast<uint16_t>(packet.size() - head);
  ByteWriter out(packet);
  if (version == IpVersion::V4) {
    out.u8(0x45);
    out.u8(0);
    out.u16(static_cast<uint16_t>(packet.size()));
    out.u16(static_cast<uint16_t>(content.id.sequence));
    out.u16(0x4000);  // don't fragment
    out.u8(content.ttl);
    out.u8(ip_protocol::kUdp);
    out.u16(0);
  } else {
    out.u32(0x60000000);
    out.u16(upper);
    out.u8(ip_protocol::kUdp);
    out.u8(content.ttl);
  }
  out.bytes(content.source.bytes());
  out.bytes(content.destination.bytes());
  if (version == IpVersion::V4)
    store_be16(packet.data() + 10, internet_checksum(Bytes(packet).first(head)));
  out.u16(40000);
  out.u16(content.port);
  out.u16(upper);
  out.u16(0);
  put_id(out, content.id);
  out.bytes(content.data);
  for (size_t i = least; i < packet.size(); ++i)
    packet[i] = static_cast<uint8_t>(i * 31 + content.id.sequence);
  InternetSum sum;
  sum.add_pseudo_header(content.source, content.destination, ip_protocol::kUdp, upper);
  sum.add(Bytes(packet).subspan(head));
  const uint16_t checksum = sum.checksum();
  store_be16(packet.data() + head + 6, checksum == 0 ? 0xffff : checksum);
  return packet;
}

std::vector<uint8_t> make_echo_request(const IpAddress& source, const IpAddress& destination,
                                       InnerId id, size_t packet_size) {
  const size_t head = header_size(source.version()) + kIcmpEchoHeaderSize;
  std::vector<uint8_t> data(std::max(packet_size, head + kIdSize) - head);
  ByteWriter writer(data);
  put_id(writer, id);
  for (size_t i = kIdSize; i < data.size(); ++i) data[i] = static_cast<uint8_t>(i);
  std::vector<uint8_t> packet(head + data.size());
  const size_t size = build_icmp_echo({.kind = IcmpEcho::Kind::Request,
                                       .source = source,
                                       .destination = destination,
                                       .identifier = id.flow,
                                       .sequence = static_cast<uint16_t>(id.sequence),
                                       .data = data},
                                      packet);
  packet.resize(size);
  return packet;
}

// ---- the ledger -------------------------------------------------------------------------------

uint16_t PacketLedger::new_flow(Listener listener) {
  listeners_[next_flow_] = std::move(listener);
  return next_flow_++;
}

std::optional<std::pair<PacketLedger::Key, InnerId>> PacketLedger::key_of(const IpPacketView& view,
                                                                          Bytes packet) {
  Bytes payload;
  Role role = Role::Datagram;
  if (view.protocol == ip_protocol::kUdp) {
    if (packet.size() < view.transport_offset + kTransportHeader) return std::nullopt;
    payload = packet.subspan(view.transport_offset + kTransportHeader);
  } else if (const auto echo = parse_icmp_echo(view, packet)) {
    payload = echo->data;
    if (echo->kind == IcmpEcho::Kind::Reply) role = Role::Reply;
  } else {
    return std::nullopt;
  }
  ByteReader in(payload);
  const auto magic = in.u16();
  const auto flow = in.u16();
  const auto sequence = in.u32();
  if (!magic || !flow || !sequence || *magic != kMagic) return std::nullopt;
  return std::pair(Key(uint64_t{*flow} << 32 | *sequence, role),
                   InnerId{.flow = *flow, .sequence = *sequence});
}

void PacketLedger::sent(Bytes packet, std::string_view from, Fate fate) {
  const auto view = parse_ip_packet(packet);
  MASQUE_ASSERT(view.has_value());
  const auto key = key_of(*view, packet);
  MASQUE_ASSERT(key.has_value());
  const auto [place, fresh] = entries_.try_emplace(key->first);
  MASQUE_ASSERT(fresh);
  place->second = {.digest = normalised_digest(*view, packet),
                   .payload = digest_of(packet.subspan(view->transport_offset + kTransportHeader)),
                   .from = std::string(from),
                   .fate = fate};
  ++sent_;
  world_.trace(TraceKind::InnerSent, key->first.first, packet.size(), 0, packet);
}

void PacketLedger::arrived(InnerNode& at, Bytes packet) {
  ++arrived_;
  const auto view = parse_ip_packet(packet);
  if (!view) {
    world_.violation(std::format("I-1: {} received something that is not an IP packet", at.name()));
    return;
  }
  const auto key = key_of(*view, packet);
  if (!key) {
    world_.violation(std::format("I-1: {} received a packet from {} that nobody sent", at.name(),
                                 view->source.to_string()));
    return;
  }
  world_.trace(TraceKind::InnerDelivered, key->first.first, packet.size(),
               static_cast<uint64_t>(key->first.second), packet);
  auto found = entries_.find(key->first);
  if (found == entries_.end() && key->first.second == Role::Reply) {
    // The tunnel's own ends answer pings: the reply repeats the payload of a request that we know.
    const auto request = entries_.find(Key(key->first.first, Role::Datagram));
    const uint64_t payload = digest_of(packet.subspan(view->transport_offset + kTransportHeader));
    if (request != entries_.end() && request->second.payload == payload) {
      found = entries_
                  .emplace(key->first,
                           Entry{.digest = normalised_digest(*view, packet), .payload = payload})
                  .first;
    }
  }
  if (found == entries_.end()) {
    world_.violation(std::format("I-1: {} received flow {} number {}, which nobody sent", at.name(),
                                 key->second.flow, key->second.sequence));
    return;
  }
  Entry& entry = found->second;
  const auto say = [&](std::string_view what) {
    world_.violation(std::format("{}: flow {} number {} from {} ({} -> {}) at {}", what,
                                 key->second.flow, key->second.sequence, entry.from,
                                 view->source.to_string(), view->destination.to_string(),
                                 at.name()));
  };
  if (entry.digest != normalised_digest(*view, packet)) say("I-1: changed on the way");
  if (++entry.arrivals > 1) say("I-2: arrived twice");
  if (entry.fate == Fate::MustNotArrive) say("I-3: must never arrive");
  if (!at.has(view->destination)) say("I-4: not the addressee");
  const auto listener = listeners_.find(key->second.flow);
  if (listener != listeners_.end()) listener->second(at, *view, packet, key->second);
}

// ---- nodes ------------------------------------------------------------------------------------

void InnerNode::set_addresses(const std::vector<IpPrefix>& addresses) {
  for (const IpPrefix& old : addresses_) former_.emplace_back(world_.now(), old);
  addresses_ = addresses;
}

std::optional<IpAddress> InnerNode::address(IpVersion version) const {
  const auto found = std::ranges::find(addresses_, version, &IpPrefix::version);
  if (found == addresses_.end()) return std::nullopt;
  return found->address();
}

bool InnerNode::has(const IpAddress& address) const {
  const auto holds = [&](const IpPrefix& prefix) { return prefix.contains(address); };
  if (std::ranges::any_of(addresses_, holds)) return true;
  return std::ranges::any_of(former_, [&](const auto& former) {
    return former.first + kFormerAddressLife >= world_.now() && former.second.contains(address);
  });
}

void InnerNode::send(Bytes packet, PacketLedger::Fate fate) {
  ledger_.sent(packet, name_, fate);
  if (output_) output_(packet);
}

void InnerNode::deliver(Bytes packet) {
  ++received_;
  const auto view = parse_ip_packet(packet);
  if (view && (view->protocol == ip_protocol::kIcmp || view->protocol == ip_protocol::kIcmpV6)) {
    const auto echo = parse_icmp_echo(*view, packet);
    if (!echo) {
      on_icmp(*view, packet);
      return;
    }
    ledger_.arrived(*this, packet);
    if (echo->kind == IcmpEcho::Kind::Request && echo_ == Echo::Answer) {
      std::vector<uint8_t> reply(packet.size());
      IcmpEcho answer = *echo;
      answer.kind = IcmpEcho::Kind::Reply;
      std::swap(answer.source, answer.destination);
      reply.resize(build_icmp_echo(answer, reply));
      send(reply);
    }
    return;
  }
  ledger_.arrived(*this, packet);
}

// ICMP errors: type 3 and 11 (IPv4), 1, 2 and 3 (IPv6).
void InnerNode::on_icmp(const IpPacketView& view, Bytes packet) {
  if (!has(view.destination)) {
    world_.violation(
        std::format("I-4: an ICMP error for {} at {}", view.destination.to_string(), name_));
  }
  const Bytes icmp = packet.subspan(view.transport_offset);
  if (icmp.size() < 8) return;
  const uint8_t type = icmp[0];
  const uint8_t code = icmp[1];
  const bool v4 = view.version == IpVersion::V4;
  world_.trace(TraceKind::Note, type, code, packet.size());
  const auto count = [&](IcmpErrorKind kind) { ++icmp_errors_[static_cast<size_t>(kind)]; };
  if (v4 ? (type == 3 && code == 4) : type == 2) {
    const size_t mtu = v4 ? load_be16(icmp.data() + 6) : load_be32(icmp.data() + 4);
    path_mtu_ = std::min(path_mtu_.value_or(SIZE_MAX), mtu);
    count(IcmpErrorKind::TooBig);
  } else if (v4 ? type == 11 : type == 3) {
    count(IcmpErrorKind::TimeExceeded);
  } else if (v4 ? (type == 3 && code == 13) : (type == 1 && code == 1)) {
    count(IcmpErrorKind::Prohibited);
  } else if (!v4 && type == 1 && code == 5) {
    count(IcmpErrorKind::BadSource);
  } else {
    count(IcmpErrorKind::NoRoute);
  }
}

}  // namespace masque
