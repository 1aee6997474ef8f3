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

Packet written(const MtuProbe& probe, size_t (MtuProbe::*write)(MutableBytes) const) {
  Packet packet(1500);
  packet.resize((probe.*write)(packet));
  return packet;
}

// proves: U3
TEST(MtuProbe, rfc9484_7_2_sends_1280_bytes_and_takes_the_reply) {
  MtuProbe probe;
  probe.start(at(0s), ip("fd00::2"), ip("ff02::1"));
  ASSERT_EQ(probe.on_timeout(at(0s)), MtuProbe::Due::SendLarge);
  const Packet packet = written(probe, &MtuProbe::write_large);
  EXPECT_EQ(packet.size(), 1280u);
  EXPECT_EQ(view_of(packet).destination, ip("ff02::1"));
  const Packet reply = test::answer_to(packet, "fd00::1");
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
    EXPECT_EQ(probe.on_timeout(now), i == 0 ? MtuProbe::Due::SendLarge : MtuProbe::Due::SendBoth);
    EXPECT_EQ(probe.on_timeout(now), MtuProbe::Due::Nothing);
    now = *probe.next_timeout();
  }
  EXPECT_EQ(probe.on_timeout(now), MtuProbe::Due::GaveUp);
  EXPECT_EQ(probe.state(), MtuProbe::State::Unanswered);
}

// proves: U3
TEST(MtuProbe, rfc9484_7_2_small_replies_alone_prove_a_narrow_tunnel) {
  MtuProbe probe;
  probe.start(at(0s), ip("fd00::2"), ip("ff02::1"));
  while (probe.on_timeout(*probe.next_timeout()) == MtuProbe::Due::SendLarge) {
  }
  const Packet small = written(probe, &MtuProbe::write_small);
  EXPECT_EQ(small.size(), MtuProbe::kSmallPacketSize);
  EXPECT_FALSE(probe.looks_narrow());
  const Packet reply = test::answer_to(small, "fd00::1");
  EXPECT_TRUE(probe.on_packet(view_of(reply), reply));
  EXPECT_TRUE(probe.looks_narrow());
  const Packet late = test::answer_to(written(probe, &MtuProbe::write_large), "fd00::1");
  while (probe.on_timeout(*probe.next_timeout()) != MtuProbe::Due::GaveUp) {
  }
  EXPECT_EQ(probe.state(), MtuProbe::State::TooNarrow);
  EXPECT_TRUE(probe.on_packet(view_of(late), late));
  EXPECT_EQ(probe.state(), MtuProbe::State::Confirmed) << "better late than never";
}

TEST(MtuProbe, pings_of_the_host_are_not_ours) {
  MtuProbe probe;
  probe.start(at(0s), ip("fd00::2"), ip("ff02::1"));
  probe.on_timeout(at(0s));
  for (const size_t data_size : {kMtuProbeDataSize, size_t{8}}) {
    const Packet other = test::make_echo(IcmpEcho::Kind::Reply, "fd00::1", "fd00::2", data_size);
    EXPECT_FALSE(probe.on_packet(view_of(other), other));
  }
  EXPECT_EQ(probe.state(), MtuProbe::State::Probing);
}

}  // namespace
}  // namespace masque
