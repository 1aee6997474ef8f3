// SPDX-License-Identifier: Apache-2.0
// The packet half: contexts, checks, MTU, TTL, ICMP, queue.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/capsule/capsule.h"
#include "core/tunnel/connect_ip_session.h"
#include "core/tunnel/test_proxy.h"

namespace masque {
namespace {

using test::at;
using test::datagram;
using test::ip;
using test::make_echo;
using test::make_packet;
using test::nets;
using test::Packet;
using test::view_of;

struct Proxy : test::Proxy {
  using test::Proxy::Proxy;
  void receive(const Packet& packet, Instant now = at(0s)) {
    session.on_http_datagram(now, datagram(packet), handler);
  }
};

// The ICMP type and code of a packet without extension headers.
std::pair<int, int> icmp_of(const Packet& packet) {
  const size_t at_icmp = view_of(packet).transport_offset;
  return {packet[at_icmp], packet[at_icmp + 1]};
}

// proves: D3, D4
TEST(SessionPackets, rfc9484_6_only_context_0_with_a_packet_is_delivered) {
  Proxy p;
  p.receive(make_packet("10.8.0.2", "192.0.2.1"));
  EXPECT_EQ(p.handler.packets.size(), 1u);
  for (const char* bytes : {"05", "02aabb", "40", ""}) {
    p.session.on_http_datagram(at(0s), from_hex(bytes).value(), p.handler);
  }
  EXPECT_EQ(p.drops(DropReason::UnknownContext), 4u);
  p.session.on_http_datagram(at(0s), from_hex("00").value(), p.handler);  // an empty packet is none
  EXPECT_EQ(p.drops(DropReason::Malformed), 1u);
  EXPECT_EQ(p.handler.packets.size(), 1u);
}

// proves: D1
TEST(SessionPackets, rfc9000_16_a_long_encoding_of_context_0_counts) {
  Proxy p;
  std::vector<uint8_t> payload = {0x40, 0x00};
  const Packet packet = make_packet("10.8.0.2", "192.0.2.1");
  payload.insert(payload.end(), packet.begin(), packet.end());
  p.session.on_http_datagram(at(0s), payload, p.handler);
  EXPECT_EQ(p.handler.packets.size(), 1u);
}

// proves: H20
TEST(SessionPackets, rfc9297_3_5_a_datagram_capsule_is_like_a_datagram_frame) {
  Proxy p;
  const Packet packet = make_packet("10.8.0.2", "192.0.2.1");
  ByteBuffer stream;
  encode_datagram_capsule(packet, stream);
  p.session.on_stream_data(at(0s), stream.view(), p.handler);
  EXPECT_THAT(p.handler.packets, testing::ElementsAre(packet));
  EXPECT_EQ(p.session.counters().datagram_capsules, 1u);
  ByteBuffer spoofed;
  encode_datagram_capsule(make_packet("10.8.0.3", "192.0.2.1"), spoofed);
  p.session.on_stream_data(at(0s), spoofed.view(), p.handler);
  EXPECT_EQ(p.drops(DropReason::SourceNotAllowed), 1u);
}

// proves: Z2, E1, E2, K2
TEST(SessionPackets, rfc9484_7_2_1_a_wrong_source_is_answered_with_icmp) {
  Proxy p;
  p.receive(make_packet("10.8.0.3", "192.0.2.1"));
  p.receive(make_packet("fd00:8::3", "2001:db8::1"));
  EXPECT_TRUE(p.handler.packets.empty());
  EXPECT_FALSE(p.session.abort_reason());  // a forwarding error, never a protocol violation
  p.session.flush(at(0s), p.channel, p.back);
  ASSERT_EQ(p.channel.sent.size(), 2u);
  EXPECT_EQ(icmp_of(p.channel.sent[0]), std::pair(3, 13));
  EXPECT_EQ(view_of(p.channel.sent[0]).source, ip("10.8.0.1"));
  EXPECT_EQ(view_of(p.channel.sent[0]).destination, ip("10.8.0.3"));
  EXPECT_EQ(icmp_of(p.channel.sent[1]), std::pair(1, 5));
}

// proves: E5
TEST(SessionPackets, rfc4443_2_4_errors_are_limited_and_never_about_errors) {
  Proxy p;
  const Packet spoofed = make_packet("10.8.0.3", "192.0.2.1");
  for (int i = 0; i < 1000; ++i) p.receive(spoofed);
  p.session.flush(at(0s), p.channel, p.back);
  EXPECT_EQ(p.channel.sent.size(), 10u);
  EXPECT_EQ(p.session.counters().icmp_errors_limited, 990u);
  EXPECT_EQ(p.drops(DropReason::SourceNotAllowed), 1000u);

  Proxy quiet;
  Packet error(kIcmpErrorSizeMax);
  const Packet offending = make_packet("fd00:8::3", "2001:db8::1");
  error.resize(*build_icmp_error({.kind = IcmpErrorKind::NoRoute}, ip("fd00:8::9"),
                                 view_of(offending), {.head = offending, .body = {}}, error));
  quiet.receive(error);  // from fd00:8::9, which is not assigned
  quiet.receive(make_packet("fd00:8::3", "ff05::1"));
  quiet.session.flush(at(0s), quiet.channel, quiet.back);
  EXPECT_TRUE(quiet.channel.sent.empty());
}

// proves: U5, E2, E4
TEST(SessionPackets, rfc9484_7_2_too_big_is_answered_with_the_limit_of_this_moment) {
  Proxy p;
  p.channel.limit = 1372;
  p.session.update_mtu(at(0s), p.channel);
  const Packet v4 =
      make_packet("192.0.2.1", "10.8.0.2",
                  {.size = 1400, .dont_fragment = test::PacketShape::DontFragment::Yes});
  EXPECT_EQ(p.send(v4), SendVerdict::Dropped);
  ASSERT_EQ(p.tun.packets.size(), 1u);
  EXPECT_EQ(icmp_of(p.tun.packets[0]), std::pair(3, 4));
  EXPECT_EQ(load_be16(&p.tun.packets[0][26]), 1372);
  // A kernel refuses packets from the outside with an address of its own as source.
  EXPECT_EQ(view_of(p.tun.packets[0]).source, ip("10.8.0.2"));

  p.channel.limit = 1300;  // fell since the last look: the channel itself says so
  const auto df = test::PacketShape::DontFragment::Yes;
  EXPECT_EQ(p.send(make_packet("192.0.2.1", "10.8.0.2", {.size = 1350, .dont_fragment = df})),
            SendVerdict::Dropped);
  ASSERT_EQ(p.tun.packets.size(), 2u);
  EXPECT_EQ(load_be16(&p.tun.packets[1][26]), 1300);

  p.channel.limit = 1400;  // rose since: it goes through
  EXPECT_EQ(p.send(make_packet("192.0.2.1", "10.8.0.2", {.size = 1400})), SendVerdict::Sent);

  p.channel.limit = 1330;
  EXPECT_EQ(p.send(make_packet("2001:db8::1", "fd00:8::2", {.size = 1400})), SendVerdict::Dropped);
  ASSERT_EQ(p.tun.packets.size(), 3u);
  EXPECT_EQ(icmp_of(p.tun.packets[2]), std::pair(2, 0));
  EXPECT_EQ(load_be32(&p.tun.packets[2][44]), 1330u);
  EXPECT_EQ(p.tun.packets[2].size(), kIpv6MinimumMtu);
  EXPECT_EQ(p.drops(DropReason::TooBig), 3u);
}

// proves: U5
TEST(SessionPackets, rfc9484_7_2_what_became_too_big_in_the_queue_is_answered) {
  Proxy p;
  p.channel.blocked = true;
  const auto df = test::PacketShape::DontFragment::Yes;
  p.send(make_packet("192.0.2.1", "10.8.0.2", {.size = 1390, .dont_fragment = df}));
  p.send(make_packet("2001:db8::1", "fd00:8::2", {.size = 1380}));
  const Packet small = make_packet("192.0.2.1", "10.8.0.2", {.size = 1300, .dont_fragment = df});
  p.send(small);
  p.channel.limit = 1320;  // the path changed
  p.channel.blocked = false;
  p.session.flush(at(1ms), p.channel, p.back);
  EXPECT_THAT(p.channel.sent, testing::ElementsAre(small));
  EXPECT_TRUE(p.session.queue_empty());
  EXPECT_EQ(p.drops(DropReason::TooBig), 2u);
  ASSERT_EQ(p.tun.packets.size(), 2u);
  EXPECT_EQ(icmp_of(p.tun.packets[0]), std::pair(3, 4));
  EXPECT_EQ(load_be16(&p.tun.packets[0][26]), 1320);
  EXPECT_EQ(view_of(p.tun.packets[0]).destination, ip("192.0.2.1"));
  EXPECT_EQ(icmp_of(p.tun.packets[1]), std::pair(2, 0));
  EXPECT_EQ(load_be32(&p.tun.packets[1][44]), 1320u);
}

TEST(SessionPackets, trap_18_below_1280_ipv6_is_never_told_a_smaller_mtu) {
  Proxy p;
  p.channel.limit = 1166;
  p.session.update_mtu(at(0s), p.channel);
  p.send(make_packet("2001:db8::1", "fd00:8::2", {.size = 1400}));
  ASSERT_EQ(p.tun.packets.size(), 1u);
  EXPECT_EQ(load_be32(&p.tun.packets[0][44]), 1280u);
  p.send(make_packet("2001:db8::1", "fd00:8::2", {.size = 1280}));
  EXPECT_EQ(p.tun.packets.size(), 1u);  // nothing to say that would help
}

// proves: K4
TEST(SessionPackets, rfc9484_7_2_ttl_is_decremented_once_and_only_by_a_forwarder) {
  const Packet packet =
      from_hex("45000020000040004011 4e87 c000020b c6336407 9c400035000c0000 61626364").value();
  const Packet forwarded =
      from_hex("4500002000004000 3f11 4f87 c000020b c6336407 9c400035000c0000 61626364").value();
  Proxy p;
  p.session.assign_addresses(nets({"198.51.100.7/32"}));
  const Packet before = packet;  // NOLINT(performance-unnecessary-copy-initialization)
  EXPECT_EQ(p.send(packet, Forwarding::WeDecrement), SendVerdict::Sent);
  EXPECT_EQ(p.send(packet, Forwarding::KernelDecrements), SendVerdict::Sent);
  EXPECT_THAT(p.channel.sent, testing::ElementsAre(forwarded, packet));
  EXPECT_EQ(packet, before);  // the sender's bytes are not touched
}

// proves: K4, E2
TEST(SessionPackets, faults_c12_an_expired_ttl_is_answered_by_the_router_between) {
  for (const uint8_t ttl : {uint8_t{0}, uint8_t{1}}) {
    Proxy p;
    EXPECT_EQ(p.send(make_packet("10.8.0.9", "10.8.0.2", {.ttl = ttl}), Forwarding::WeDecrement),
              SendVerdict::Dropped);
    EXPECT_EQ(p.send(make_packet("fd00:8::9", "fd00:8::2", {.ttl = ttl}), Forwarding::WeDecrement),
              SendVerdict::Dropped);
    ASSERT_EQ(p.tun.packets.size(), 2u);
    EXPECT_EQ(icmp_of(p.tun.packets[0]), std::pair(11, 0));
    EXPECT_EQ(view_of(p.tun.packets[0]).source, ip("10.8.0.1"));
    EXPECT_EQ(icmp_of(p.tun.packets[1]), std::pair(3, 0));
    EXPECT_TRUE(p.channel.sent.empty());
  }
}

// proves: K6, U3
TEST(SessionPackets, rfc9484_7_2_all_nodes_is_answered_from_our_address) {
  Proxy p;
  p.receive(make_echo(IcmpEcho::Kind::Request, "fd00:8::2", "ff02::1", kMtuProbeDataSize));
  p.receive(make_echo(IcmpEcho::Kind::Request, "fe80::2", "ff02::1"));    // no address yet
  p.receive(make_echo(IcmpEcho::Kind::Request, "fd00:8::3", "ff02::1"));  // somebody else's
  EXPECT_TRUE(p.handler.packets.empty());
  p.session.flush(at(0s), p.channel, p.back);
  ASSERT_EQ(p.channel.sent.size(), 2u);
  const auto view = view_of(p.channel.sent[0]);
  EXPECT_EQ(p.channel.sent[0].size(), 1280u);
  EXPECT_EQ(view.source, ip("fd00:8::1"));
  EXPECT_EQ(view.destination, ip("fd00:8::2"));
  EXPECT_EQ(parse_icmp_echo(view, p.channel.sent[0])->kind, IcmpEcho::Kind::Reply);
  EXPECT_EQ(view_of(p.channel.sent[1]).destination, ip("fe80::2"));
  EXPECT_EQ(p.session.counters().echo_replies_sent, 2u);
}

TEST(SessionPackets, pings_to_our_own_address_are_the_kernels_or_ours) {
  const Packet ping = make_echo(IcmpEcho::Kind::Request, "10.8.0.2", "10.8.0.1");
  Proxy kernel;
  kernel.receive(ping);
  EXPECT_THAT(kernel.handler.packets, testing::ElementsAre(ping));

  Proxy alone({.local_echo = SessionOptions::LocalEcho::Answer});
  alone.receive(ping);
  alone.receive(make_echo(IcmpEcho::Kind::Request, "10.8.0.3", "10.8.0.1"));  // spoofed
  alone.session.flush(at(0s), alone.channel, alone.back);
  EXPECT_TRUE(alone.handler.packets.empty());
  ASSERT_EQ(alone.channel.sent.size(), 2u);  // the reply, and the error about the spoofed one
  EXPECT_EQ(icmp_of(alone.channel.sent[0]), std::pair(0, 0));
  EXPECT_EQ(icmp_of(alone.channel.sent[1]), std::pair(3, 13));
}

TEST(SessionPackets, faults_c2_a_flood_of_pings_costs_fifty_replies_a_second) {
  Proxy p({.local_echo = SessionOptions::LocalEcho::Answer});
  const Packet ping = make_echo(IcmpEcho::Kind::Request, "10.8.0.2", "10.8.0.1");
  for (int i = 0; i < 500; ++i) p.receive(ping);
  EXPECT_EQ(p.session.counters().echo_replies_sent, 50u);
  for (int i = 0; i < 500; ++i) p.receive(ping, at(1s));
  EXPECT_EQ(p.session.counters().echo_replies_sent, 100u);
}

// proves: K3
TEST(SessionPackets, rfc9484_7_2_what_the_peer_does_not_take_is_not_sent) {
  Proxy p;
  EXPECT_EQ(p.send(make_packet("192.0.2.1", "10.8.0.3")), SendVerdict::Dropped);
  EXPECT_EQ(p.send(make_packet("127.0.0.1", "10.8.0.2")), SendVerdict::Dropped);
  EXPECT_EQ(p.drops(DropReason::NoRoute), 1u);
  EXPECT_EQ(p.drops(DropReason::SourceInvalid), 1u);
  EXPECT_TRUE(p.channel.sent.empty());
}

TEST(SessionPackets, a_configured_limit_below_the_paths_holds) {
  Proxy p({.packet_size_max = 1300});
  EXPECT_EQ(p.send(make_packet("192.0.2.1", "10.8.0.2", {.size = 1300})), SendVerdict::Sent);
  const auto df = test::PacketShape::DontFragment::Yes;
  EXPECT_EQ(p.send(make_packet("192.0.2.1", "10.8.0.2", {.size = 1301, .dont_fragment = df})),
            SendVerdict::Dropped);
  ASSERT_EQ(p.tun.packets.size(), 1u);
  EXPECT_EQ(load_be16(&p.tun.packets[0][26]), 1300);
}

TEST(SessionPackets, a_blocked_channel_fills_the_queue_in_order) {
  Proxy p;
  p.channel.blocked = true;
  const Packet first = make_packet("192.0.2.1", "10.8.0.2", {.size = 100});
  const Packet second = make_packet("192.0.2.1", "10.8.0.2", {.size = 200});
  EXPECT_EQ(p.send(first), SendVerdict::Queued);
  p.channel.blocked = false;
  EXPECT_EQ(p.send(second), SendVerdict::Queued);  // never overtakes
  EXPECT_TRUE(p.channel.sent.empty());
  p.session.flush(at(1ms), p.channel, p.back);
  EXPECT_THAT(p.channel.sent, testing::ElementsAre(first, second));
  EXPECT_TRUE(p.session.queue_empty());
  EXPECT_EQ(p.session.counters().packets_sent, 2u);
}

TEST(SessionPackets, faults_c15_the_queue_is_bounded_in_bytes_and_in_time) {
  Proxy p({.queue_bytes_max = 16 * 1024});
  p.channel.blocked = true;
  for (int i = 0; i < 1000; ++i) p.send(make_packet("192.0.2.1", "10.8.0.2", {.size = 1000}));
  EXPECT_FALSE(p.session.wants_more());
  // Sixty units of 256 bytes, four a packet.
  constexpr uint64_t kKept = 15;
  EXPECT_EQ(p.drops(DropReason::QueueFull), 1000u - kKept);
  p.channel.blocked = false;
  p.session.flush(at(1s) + 1ns, p.channel, p.back);  // all of it has waited for more than a second
  EXPECT_TRUE(p.channel.sent.empty());
  EXPECT_EQ(p.drops(DropReason::QueueExpired), kKept);
  EXPECT_TRUE(p.session.wants_more());
}

// proves: F5
TEST(SessionPackets, rfc9484_10_dscp_and_ecn_of_the_inner_packet_are_untouched) {
  Proxy p;
  p.channel.blocked = true;
  Packet packet = make_packet("2001:db8::1", "fd00:8::2");
  store_be32(&packet[0], 0x60000000 | 0xbb << 20);  // EF, CE
  p.send(packet);
  p.channel.blocked = false;
  p.session.flush(at(0s), p.channel, p.back);
  EXPECT_THAT(p.channel.sent, testing::ElementsAre(packet));
  p.receive(make_packet("10.8.0.2", "192.0.2.1"));
}

// proves: Z4, S10
TEST(SessionPackets, faults_c10_routing_header_0_is_dropped) {
  Proxy p;
  Packet packet = make_packet("fd00:8::2", "2001:db8::1", {.protocol = ip_protocol::kRouting});
  const std::vector<uint8_t> header = {17, 0, 0, 0, 0, 0, 0, 0};
  std::ranges::copy(header, packet.begin() + 40);
  p.receive(packet);
  EXPECT_EQ(p.drops(DropReason::RoutingHeader0), 1u);
  EXPECT_TRUE(p.handler.packets.empty());
}

TEST(SessionPackets, faults_c11_broken_packets_are_counted_and_not_answered) {
  Proxy p;
  for (const char* bytes :
       {"45", "00", "50000000", "f0", "4500001400000000401100000a080002c0000201"}) {
    Packet packet = from_hex(bytes).value();
    p.receive(packet);
  }
  EXPECT_EQ(p.drops(DropReason::Malformed), 5u);
  p.session.flush(at(0s), p.channel, p.back);
  EXPECT_TRUE(p.channel.sent.empty());
}

TEST(SessionPackets, nothing_is_sent_before_the_limit_is_known_or_after_the_end) {
  Proxy p;
  p.channel.limit = 0;
  p.session.update_mtu(at(0s), p.channel);
  EXPECT_EQ(p.send(make_packet("192.0.2.1", "10.8.0.2")), SendVerdict::Dropped);
  EXPECT_EQ(p.drops(DropReason::NotReady), 1u);
  EXPECT_TRUE(p.tun.packets.empty());
  p.channel.limit = 1400;
  p.channel.closed = true;
  EXPECT_EQ(p.send(make_packet("192.0.2.1", "10.8.0.2")), SendVerdict::Dropped);
  EXPECT_EQ(p.drops(DropReason::ChannelClosed), 1u);
}

}  // namespace
}  // namespace masque
