// SPDX-License-Identifier: Apache-2.0
// The host's part of a packet's way costs no allocation either, our code's or a library's: sockets
// over loopback, what PacketIo sends to them, and the merging of packets for the TUN. (With a TUN:
// tests/netns/host/allocation_test.cc.)
#include <gtest/gtest.h>
#include <poll.h>

#include "core/ip/coalesce.h"
#include "host/packet_turn.h"
#include "host/udp_socket.h"
#include "property/allocation_counter.h"
#include "sim/inner.h"

namespace masque {
namespace {

constexpr int kWarmUpRounds = 100;
constexpr int kCountedRounds = 2'000;

class SocketAllocation : public testing::TestWithParam<UdpOptions::Offload> {
 protected:
  UdpSocket make() {
    auto socket = UdpSocket::create(
        {.bind = {.address = *IpAddress::parse("127.0.0.1")}, .offload = GetParam()});
    EXPECT_TRUE(socket);
    return std::move(*socket);
  }
};

TEST_P(SocketAllocation, datagrams_over_loopback) {
  UdpSocket from = make(), to = make();
  const NetworkPath path{.local = from.local_address(), .remote = to.local_address()};
  TransmitBatch batch;
  ReceiveBatch received;
  uint64_t arrived = 0;
  expect_no_allocation(kWarmUpRounds, kCountedRounds, [&] {
    constexpr int kDatagrams = 20;
    for (int i = 0; i < kDatagrams; ++i) batch.commit(path, Ecn::Ect0, i == 7 ? 300 : 1200);
    SendCursor cursor;
    EXPECT_EQ(from.send_batch(batch, cursor), UdpSocket::SendState::Done);
    batch.clear();
    // To the end, where the kernel says that nothing waits.
    for (uint64_t before = arrived; arrived < before + kDatagrams;) {
      pollfd readable{.fd = to.fd(), .events = POLLIN, .revents = 0};
      if (::poll(&readable, 1, 2000) != 1) break;
      receive_datagrams(to, received, [&](const ReceivedDatagram&) { ++arrived; });
    }
    receive_datagrams(to, received, [&](const ReceivedDatagram&) { ++arrived; });
  });
  EXPECT_EQ(arrived, uint64_t{kWarmUpRounds + kCountedRounds} * 20);
}
INSTANTIATE_TEST_SUITE_P(Offload, SocketAllocation,
                         testing::Values(UdpOptions::Offload::On, UdpOptions::Offload::Off),
                         [](const auto& test) {
                           return test.param == UdpOptions::Offload::On ? "on" : "off";
                         });

// Flows that merge and packets that do not, more of them than fit at once.
TEST(CoalescerAllocation, packets_of_many_flows) {
  std::vector<std::vector<uint8_t>> packets;
  for (uint32_t flow = 0; flow < 40; ++flow) {
    for (int i = 0; i < 40; ++i) {
      packets.push_back(make_udp_packet({.source = IpAddress::v4(0x0a080002 + flow),
                                         .destination = *IpAddress::parse("198.51.100.10"),
                                         .packet_size = 1200}));
    }
  }
  PacketCoalescer coalescer(PacketCoalescer::Merge::TcpAndUdp);
  uint64_t given = 0, taken = 0;
  const auto flush = [&] {
    for (const CoalescedPacket& packet : coalescer.flush()) taken += packet.packets;
  };
  expect_no_allocation(kWarmUpRounds, kCountedRounds, [&] {
    for (const auto& packet : packets) {
      const auto view = parse_ip_packet(packet);
      ++given;
      if (coalescer.add(*view, packet)) continue;
      flush();
      EXPECT_TRUE(coalescer.add(*view, packet));
    }
    flush();
  });
  EXPECT_EQ(taken, given);
  EXPECT_GT(coalescer.counters().full, 0u);
}

}  // namespace
}  // namespace masque
