// SPDX-License-Identifier: Apache-2.0
// IPv4 packets above the limit that may be cut: what a router between would do with them.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck.h>

#include "core/ip/fragment.h"
#include "core/tunnel/connect_ip_session.h"
#include "core/tunnel/test_proxy.h"

namespace masque {
namespace {

using test::at;
using test::make_packet;
using test::Packet;
using test::view_of;

struct Proxy : test::Proxy {
  explicit Proxy(size_t limit = 1300) : test::Proxy({}, limit) {}
  void flush() { session.flush(at(1ms), channel, back); }
  // What the peer's host makes of the fragments; empty when a part is missing.
  Packet joined() const {
    Packet out;
    bool ended = false;
    for (const Packet& fragment : channel.sent) {
      const size_t offset = size_t{8} * (load_be16(&fragment[6]) & 0x1fff);
      if (offset != out.size()) return {};
      out.insert(out.end(), fragment.begin() + 20, fragment.end());
      ended = (load_be16(&fragment[6]) & 0x2000) == 0;
    }
    return ended ? out : Packet{};
  }
};

Packet large(size_t size = 1400) {
  Packet packet = make_packet("192.0.2.1", "10.8.0.2", {.size = size});
  for (size_t i = 20; i < size; ++i) packet[i] = static_cast<uint8_t>(i * 7 + i / 256);
  return packet;
}
Packet payload_of(const Packet& packet) { return {packet.begin() + 20, packet.end()}; }

TEST(SessionFragments, rfc1812_4_2_2_7_what_may_be_cut_is_cut_and_not_refused) {
  Proxy p;
  const Packet packet = large();
  EXPECT_EQ(p.send(packet), SendVerdict::Sent);
  EXPECT_EQ(p.channel.sent.size(), 2u);
  EXPECT_EQ(p.joined(), payload_of(packet));
  EXPECT_TRUE(p.tun.packets.empty());
  EXPECT_EQ(p.session.counters().packets_fragmented, 1u);
  EXPECT_EQ(p.session.counters().packets_sent, 2u);
  EXPECT_EQ(p.session.counters().dropped(DropReason::TooBig), 0u);
}

TEST(SessionFragments, what_fits_says_no_or_is_ipv6_is_not_cut) {
  Proxy p;
  EXPECT_EQ(p.send(large(1300)), SendVerdict::Sent);
  EXPECT_EQ(p.channel.sent.size(), 1u);
  const auto df = test::PacketShape::DontFragment::Yes;
  EXPECT_EQ(p.send(make_packet("192.0.2.1", "10.8.0.2", {.size = 1301, .dont_fragment = df})),
            SendVerdict::Dropped);
  EXPECT_EQ(p.send(make_packet("2001:db8::1", "fd00:8::2", {.size = 1301})), SendVerdict::Dropped);
  EXPECT_EQ(p.tun.packets.size(), 2u);
  EXPECT_EQ(p.channel.sent.size(), 1u);
  EXPECT_EQ(p.session.counters().packets_fragmented, 0u);
}

TEST(SessionFragments, a_limit_that_fell_since_the_last_look_counts) {
  Proxy p(1400);
  p.channel.limit = 1300;  // only the channel knows
  const Packet packet = large(1350);
  EXPECT_EQ(p.send(packet), SendVerdict::Sent);
  EXPECT_EQ(p.joined(), payload_of(packet));
}

// RFC 9484 7.2: TTL once, and every fragment bears it.
TEST(SessionFragments, between_clients_each_fragment_has_one_hop_less) {
  Proxy p;
  const Packet packet = large();
  const Packet before = packet;  // NOLINT(performance-unnecessary-copy-initialization)
  EXPECT_EQ(p.send(packet, Forwarding::WeDecrement), SendVerdict::Sent);
  ASSERT_EQ(p.channel.sent.size(), 2u);
  for (const Packet& fragment : p.channel.sent) EXPECT_EQ(view_of(fragment).ttl, 63);
  EXPECT_EQ(p.joined(), payload_of(packet));
  EXPECT_EQ(packet, before);
}

TEST(SessionFragments, fragments_wait_in_order_for_a_blocked_channel) {
  Proxy p;
  p.channel.limit_packets = 1;
  const Packet packet = large(3000);
  EXPECT_EQ(p.send(packet), SendVerdict::Queued);
  EXPECT_EQ(p.channel.sent.size(), 1u);
  p.channel.limit_packets = SIZE_MAX;
  p.flush();
  EXPECT_EQ(p.joined(), payload_of(packet));
}

TEST(SessionFragments, what_became_too_big_in_the_queue_is_cut_there) {
  Proxy p(1400);
  p.channel.blocked = true;
  const Packet packet = large(1390);
  p.send(packet);
  p.channel.limit = 1300;
  p.channel.blocked = false;
  p.flush();
  EXPECT_EQ(p.channel.sent.size(), 2u);
  EXPECT_EQ(p.joined(), payload_of(packet));
  EXPECT_TRUE(p.session.queue_empty());
  EXPECT_TRUE(p.tun.packets.empty());
}

// The limit falls again and again while fragments wait: all of them end as what fits.
TEST(SessionFragments, fragments_are_cut_again_in_the_queue) {
  Proxy p(1400);
  p.channel.blocked = true;
  const Packet packet = large(1390);
  p.send(packet);
  p.channel.blocked = false;
  for (const size_t limit : {size_t{1300}, size_t{900}, Ipv4Fragmenter::kMtuMin}) {
    p.channel.limit = limit;
    p.channel.limit_packets = 1;
    p.flush();
  }
  p.channel.limit_packets = SIZE_MAX;
  p.flush();
  EXPECT_EQ(p.joined(), payload_of(packet));
}

TEST(SessionFragments, a_closed_channel_and_a_narrow_one) {
  Proxy p;
  p.channel.closed = true;
  EXPECT_EQ(p.send(large()), SendVerdict::Dropped);
  EXPECT_EQ(p.session.counters().dropped(DropReason::ChannelClosed), 1u);
  Proxy narrow(Ipv4Fragmenter::kMtuMin - 1);
  EXPECT_EQ(narrow.send(large()), SendVerdict::Dropped);
  EXPECT_TRUE(narrow.channel.sent.empty());
  EXPECT_EQ(narrow.session.counters().dropped(DropReason::TooBig), 1u);
}

// Whatever the size, the limit, the pieces of memory and the blocking: whole, in order, and none
// above the limit.
TEST(SessionFragments, property_what_is_sent_joins_to_what_came) {
  EXPECT_TRUE(rc::check([] {
    const size_t limit = *rc::gen::inRange<size_t>(Ipv4Fragmenter::kMtuMin, 1500);
    Proxy p(limit);
    const Packet packet = large(*rc::gen::inRange<size_t>(100, 20'000));
    const size_t split = *rc::gen::inRange<size_t>(40, 99);
    p.channel.limit_packets = *rc::gen::inRange<size_t>(0, 10);
    const PacketSlices slices{.head = Bytes(packet).first(split),
                              .body = Bytes(packet).subspan(split)};
    const auto verdict = p.session.on_ip_packet(at(0s), slices, parse_ip_packet(slices).value(),
                                                Forwarding::KernelDecrements, p.channel, p.tun);
    RC_ASSERT(verdict != SendVerdict::Dropped);
    p.channel.limit_packets = SIZE_MAX;
    p.flush();
    for (const Packet& fragment : p.channel.sent) RC_ASSERT(fragment.size() <= limit);
    RC_ASSERT(p.joined() == payload_of(packet));
  }));
}

}  // namespace
}  // namespace masque
