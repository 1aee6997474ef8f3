// SPDX-License-Identifier: Apache-2.0
#include "sim/network.h"

#include <gtest/gtest.h>

namespace masque {
namespace {

struct Listener final : UdpHost {
  void on_udp(const NetworkPath&, Ecn, Bytes bytes) override { received += bytes.size(); }
  size_t received = 0;
};

uint64_t trace_of(Bytes datagram) {
  World world(1);
  Network network(world);
  Listener client, server;
  const IpAddress client_address = IpAddress::v4(0xcb007101),
                  server_address = IpAddress::v4(0xc0000201);
  const auto from = network.attach(client, client_address, Network::Kind::Client);
  network.attach(server, server_address, Network::Kind::Server);
  network.send(from,
               {.local = {.address = client_address, .port = 4000},
                .remote = {.address = server_address, .port = 443}},
               Ecn::NotEct, datagram);
  world.run_for(1s);
  EXPECT_EQ(server.received, datagram.size());
  return world.trace_hash();
}

TEST(Network, the_trace_tells_every_byte_on_the_wire) {
  std::vector<uint8_t> datagram(1201, 0x5a);
  const uint64_t hash = trace_of(datagram);
  EXPECT_EQ(trace_of(datagram), hash);
  for (const size_t at :
       {size_t{0}, size_t{1}, size_t{8}, size_t{600}, size_t{1199}, size_t{1200}}) {
    std::vector<uint8_t> other = datagram;
    other[at] ^= 1;
    EXPECT_NE(trace_of(other), hash) << at;
  }
}

}  // namespace
}  // namespace masque
