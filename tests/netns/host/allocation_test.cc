// SPDX-License-Identifier: Apache-2.0
// Packets through a real TUN cost no allocation, our code's or a library's, with offload and
// without:
//
//     UDP socket - TUN -- read_packets, the other way round, PacketIo -- TUN - the same socket
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "host/interface_config.h"
#include "host/packet_io.h"
#include "host/packet_turn.h"
#include "host/socket_name.h"
#include "namespace.h"
#include "property/allocation_counter.h"

namespace masque::netns {
namespace {

constexpr int kWarmUpRounds = 50;
constexpr int kCountedRounds = 1'000;
constexpr size_t kTrain = 20;  // datagrams

class TunAllocation : public NamespaceTest,
                      public testing::WithParamInterface<TunOptions::Offload> {};

// Addresses and ports change places, so every checksum stays right.
Bytes turned_round(const PacketSlices& slices, std::array<uint8_t, 2048>& out) {
  std::ranges::copy(slices.head, out.begin());
  std::ranges::copy(slices.body, out.begin() + static_cast<ptrdiff_t>(slices.head.size()));
  std::swap_ranges(out.begin() + 12, out.begin() + 16, out.begin() + 16);
  std::swap_ranges(out.begin() + 20, out.begin() + 22, out.begin() + 22);
  return Bytes(out).first(slices.head.size() + slices.body.size());
}

TEST_P(TunAllocation, packets_that_come_and_go) {
  auto tun = TunDevice::open({.name = "alloc0", .offload = GetParam()});
  ASSERT_TRUE(tun) << tun.error().message();
  auto interface = TunnelInterface::start({.name = "alloc0"});
  ASSERT_TRUE(interface);
  ASSERT_TRUE(interface->apply({.addresses = {interface_address("10.77.0.1/24")},
                                .routes = {prefix("10.77.0.0/24")},
                                .mtu = 1400}));
  PacketIo io(*tun);
  TunReadBatch batch;
  const UniqueFd socket = std::move(*sys::socket(AF_INET, SOCK_DGRAM, 0));
  const SocketName peer = to_socket_name({.address = address("10.77.0.2"), .port = 7000});
  ASSERT_TRUE(sys::connect(socket.get(), &peer.any, peer.length));
  ASSERT_TRUE(sys::set_option(socket.get(), SOL_SOCKET, SO_RCVBUFFORCE, 8 << 20, "SO_RCVBUFFORCE"));
  ASSERT_TRUE(sys::set_option(socket.get(), IPPROTO_UDP, UDP_SEGMENT, 1200, "UDP_SEGMENT"));

  std::array<uint8_t, kTrain * 1200> train{};
  std::array<uint8_t, 2048> packet, datagram;
  uint64_t arrived = 0;
  const auto round = [&] {
    ASSERT_EQ(::send(socket.get(), train.data(), train.size(), 0),
              static_cast<ssize_t>(train.size()));
    // Until a read that finds nothing.
    do {
      ASSERT_TRUE(read_packets(*tun, batch, [&](const PacketSlices& slices) {
        if (slices.head[0] >> 4 == 4) io.deliver(turned_round(slices, packet));
      }));
      io.finish_turn();
    } while (!batch.packets().empty());
    while (::recv(socket.get(), datagram.data(), datagram.size(), MSG_DONTWAIT) == 1200) ++arrived;
  };
  expect_no_allocation(kWarmUpRounds, kCountedRounds, round);
  EXPECT_EQ(arrived, (kWarmUpRounds + kCountedRounds) * kTrain);
  if (GetParam() == TunOptions::Offload::On) {
    EXPECT_LT(tun->counters().writes * 2, arrived) << "nothing was merged";
  }
}

INSTANTIATE_TEST_SUITE_P(Offload, TunAllocation,
                         testing::Values(TunOptions::Offload::On, TunOptions::Offload::Off),
                         [](const auto& test) {
                           return test.param == TunOptions::Offload::On ? "on" : "off";
                         });

}  // namespace
}  // namespace masque::netns
