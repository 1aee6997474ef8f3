// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "core/tunnel/mtu_monitor.h"
#include "core/tunnel/mtu_probe.h"
#include "core/tunnel/test_packets.h"

namespace masque {
namespace {

using test::at;
using test::ip;
using test::Packet;
using test::view_of;

// proves: U1
TEST(MtuMonitor, rfc9484_7_2_1280_is_enough_for_ipv6) {
  MtuMonitor monitor({.grace = 15s});
  monitor.on_limit(at(0s), 1280, Ipv6Use::Yes);
  EXPECT_EQ(monitor.next_timeout(), std::nullopt);
  EXPECT_FALSE(monitor.must_abort(at(1000s)));
}

// proves: U4
TEST(MtuMonitor, rfc9484_7_2_ipv6_below_1280_must_abort_after_the_grace_period) {
  MtuMonitor monitor({.grace = 15s});
  monitor.on_limit(at(1s), 1279, Ipv6Use::Yes);
  EXPECT_EQ(monitor.next_timeout(), at(16s));
  EXPECT_FALSE(monitor.must_abort(at(16s) - 1ns));
  EXPECT_TRUE(monitor.must_abort(at(16s)));
}

TEST(MtuMonitor, trap_18_a_passing_fall_is_forgiven) {
  MtuMonitor monitor({.grace = 15s});
  monitor.on_limit(at(0s), 1400, Ipv6Use::Yes);
  EXPECT_EQ(monitor.on_limit(at(5s), 1166, Ipv6Use::Yes), MtuMonitor::Change::Changed);
  monitor.on_limit(at(8s), 1166, Ipv6Use::Yes);
  EXPECT_EQ(monitor.next_timeout(), at(20s));  // counted from the fall, not from the last look
  monitor.on_limit(at(9s), 1372, Ipv6Use::Yes);
  EXPECT_FALSE(monitor.must_abort(at(100s)));
}

TEST(MtuMonitor, ipv4_alone_may_have_a_small_limit) {
  MtuMonitor monitor({.grace = 15s});
  monitor.on_limit(at(0s), 1166, Ipv6Use::No);
  EXPECT_FALSE(monitor.must_abort(at(100s)));
  EXPECT_EQ(monitor.limit(), 1166u);
}

TEST(MtuMonitor, a_configured_bound_wins) {
  MtuMonitor monitor({.packet_size_max = 1300});
  monitor.on_limit(at(0s), 1400, Ipv6Use::Yes);
  EXPECT_EQ(monitor.limit(), 1300u);
}

Packet answer_to(const Packet& request) {
  const auto view = view_of(request);
  const auto echo = parse_icmp_echo(view, request).value();
  Packet reply(2048);
  reply.resize(build_icmp_echo({.kind = IcmpEcho::Kind::Reply,
                                .source = ip("fd00::1"),
                                .destination = view.source,
                                .identifier = echo.identifier,
                                .sequence = echo.sequence,
                                .data = echo.data},
                               reply));
  return reply;
}

// proves: U3
TEST(MtuProbe, rfc9484_7_2_sends_1280_bytes_and_takes_the_reply) {
  MtuProbe probe;
  probe.start(at(0s), ip("fd00::2"), ip("ff02::1"));
  ASSERT_EQ(probe.on_timeout(at(0s)), MtuProbe::Due::Send);
  Packet packet(1500);
  packet.resize(probe.write(packet));
  EXPECT_EQ(packet.size(), 1280u);
  EXPECT_EQ(view_of(packet).destination, ip("ff02::1"));
  const Packet reply = answer_to(packet);
  EXPECT_TRUE(probe.on_packet(view_of(reply), reply));
  EXPECT_EQ(probe.state(), MtuProbe::State::Confirmed);
  EXPECT_EQ(probe.next_timeout(), std::nullopt);
}

// proves: U3
TEST(MtuProbe, gives_up_after_its_tries) {
  MtuProbe probe;
  probe.start(at(0s), ip("fd00::2"), ip("ff02::1"));
  Instant now = at(0s);
  for (uint16_t i = 0; i < MtuProbe::kTriesMax; ++i) {
    EXPECT_EQ(probe.on_timeout(now), MtuProbe::Due::Send);
    EXPECT_EQ(probe.on_timeout(now), MtuProbe::Due::Nothing);
    now = *probe.next_timeout();
  }
  EXPECT_EQ(probe.on_timeout(now), MtuProbe::Due::GaveUp);
  EXPECT_EQ(probe.state(), MtuProbe::State::Unanswered);
}

TEST(MtuProbe, pings_of_the_host_are_not_ours) {
  MtuProbe probe;
  probe.start(at(0s), ip("fd00::2"), ip("ff02::1"));
  probe.on_timeout(at(0s));
  const Packet other =
      test::make_echo(IcmpEcho::Kind::Reply, "fd00::1", "fd00::2", kMtuProbeDataSize);
  EXPECT_FALSE(probe.on_packet(view_of(other), other));
  EXPECT_EQ(probe.state(), MtuProbe::State::Probing);
}

}  // namespace
}  // namespace masque
