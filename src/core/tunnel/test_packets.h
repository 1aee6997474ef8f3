// SPDX-License-Identifier: Apache-2.0
// Packets and fakes for the tests of core/tunnel, core/client and core/server.
#pragma once

#include <string_view>
#include <vector>

#include "core/ip/checksum.h"
#include "core/ip/icmp.h"
#include "core/ip/packet.h"
#include "core/tunnel/connect_ip_session.h"

namespace masque::test {

inline IpAddress ip(std::string_view text) { return IpAddress::parse(text).value(); }
inline IpPrefix net(std::string_view text) { return IpPrefix::parse(text).value(); }
inline std::vector<IpPrefix> nets(std::initializer_list<std::string_view> texts) {
  std::vector<IpPrefix> out;
  for (const std::string_view text : texts) out.push_back(net(text));
  return out;
}
inline IpAddressRange route(std::string_view prefix, uint8_t protocol = 0) {
  return {.range = IpRange::of(net(prefix)), .protocol = protocol};
}
inline Instant at(Duration since_start) { return instant_from_ns(1'000'000'000) + since_start; }

using Packet = std::vector<uint8_t>;

struct PacketShape {
  uint8_t protocol = ip_protocol::kUdp;
  uint8_t ttl = 64;
  size_t size = 60;  // of the whole packet
  enum class DontFragment : uint8_t { No, Yes } dont_fragment = DontFragment::No;
};

inline Packet make_packet(std::string_view source, std::string_view destination,
                          PacketShape shape = {}) {
  const IpAddress from = ip(source);
  const IpAddress to = ip(destination);
  Packet packet(shape.size, 0x5a);
  if (from.version() == IpVersion::V4) {
    packet[0] = 0x45;
    packet[1] = 0;
    store_be16(&packet[2], static_cast<uint16_t>(shape.size));
    store_be32(&packet[4], shape.dont_fragment == PacketShape::DontFragment::Yes ? 0x4000 : 0);
    packet[8] = shape.ttl;
    packet[9] = shape.protocol;
    store_be16(&packet[10], 0);
    std::ranges::copy(from.bytes(), packet.begin() + 12);
    std::ranges::copy(to.bytes(), packet.begin() + 16);
    store_be16(&packet[10], internet_checksum(Bytes(packet).first(20)));
  } else {
    store_be32(&packet[0], 0x60000000);
    store_be16(&packet[4], static_cast<uint16_t>(shape.size - 40));
    packet[6] = shape.protocol;
    packet[7] = shape.ttl;
    std::ranges::copy(from.bytes(), packet.begin() + 8);
    std::ranges::copy(to.bytes(), packet.begin() + 24);
  }
  return packet;
}

inline Packet make_echo(IcmpEcho::Kind kind, std::string_view source, std::string_view destination,
                        size_t data_size = 56) {
  const std::vector<uint8_t> data(data_size, 0x42);
  Packet packet(2048);
  packet.resize(build_icmp_echo({.kind = kind,
                                 .source = ip(source),
                                 .destination = ip(destination),
                                 .identifier = 7,
                                 .sequence = 1,
                                 .data = data},
                                packet));
  return packet;
}

// Of `from` to an echo request.
inline Packet answer_to(const Packet& request, std::string_view from) {
  const IpPacketView view = parse_ip_packet(Bytes(request)).value();
  const IcmpEcho echo = parse_icmp_echo(view, request).value();
  Packet reply(2048);
  reply.resize(build_icmp_echo({.kind = IcmpEcho::Kind::Reply,
                                .source = ip(from),
                                .destination = view.source,
                                .identifier = echo.identifier,
                                .sequence = echo.sequence,
                                .data = echo.data},
                               reply));
  return reply;
}

// About `offending`, to its sender.
inline Packet make_icmp_error(const IcmpError& error, std::string_view router,
                              const Packet& offending) {
  Packet packet(kIcmpErrorSizeMax);
  const auto size = build_icmp_error(error, ip(router), parse_ip_packet(Bytes(offending)).value(),
                                     {.head = offending, .body = {}}, packet);
  packet.resize(size.value());
  return packet;
}

inline std::vector<uint8_t> datagram(const Packet& packet) {
  std::vector<uint8_t> out = {0};
  out.insert(out.end(), packet.begin(), packet.end());
  return out;
}

inline IpPacketView view_of(const Packet& packet) { return parse_ip_packet(Bytes(packet)).value(); }

struct FakeChannel final : DatagramChannel {
  SendResult send_packet(Instant, const PacketSlices& packet, TrafficClass traffic_class) override {
    if (blocked || limit_packets == 0) return SendResult::Blocked;
    if (closed) return SendResult::Closed;
    if (packet.size() > limit) return SendResult::TooLarge;
    Packet whole(packet.head.begin(), packet.head.end());
    whole.insert(whole.end(), packet.body.begin(), packet.body.end());
    --limit_packets;
    sent.push_back(std::move(whole));
    classes.push_back(traffic_class);
    return SendResult::Sent;
  }
  size_t packet_size_max() const override { return limit; }
  SendingPace pace() const override { return sending_pace; }
  SendingPace sending_pace;

  std::vector<Packet> sent;
  std::vector<TrafficClass> classes;  // of each sent
  size_t limit = 1400;
  size_t limit_packets = SIZE_MAX;  // sent before it blocks
  bool blocked = false;
  bool closed = false;
};

struct CollectingSink final : PacketSink {
  void deliver(Bytes packet) override { packets.emplace_back(packet.begin(), packet.end()); }
  std::vector<Packet> packets;
};

struct CollectingHandler final : InnerPacketHandler {
  void on_inner_packet(Bytes packet, const IpPacketView&) override {
    packets.emplace_back(packet.begin(), packet.end());
  }
  std::vector<Packet> packets;
};

}  // namespace masque::test
