// SPDX-License-Identifier: Apache-2.0
// UDP sockets and NAT against interfaces whose packets are read back.
//
//     wan0 (TUN, read by the test) 192.0.2.2/24 [this namespace] vpn0 (TUN, written by the
//     test) 10.8.0.1/24
#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <format>
#include <string>

#include "core/ip/checksum.h"
#include "host/interface_config.h"
#include "host/ip_forwarding.h"
#include "host/nat.h"
#include "host/udp_socket.h"
#include "namespace.h"

namespace masque::netns {
namespace {

std::vector<uint8_t> udp_packet(const IpAddress& from, const IpAddress& to, uint16_t source_port,
                                uint16_t port) {
  const bool v4 = from.version() == IpVersion::V4;
  const size_t header = v4 ? 20 : 40;
  constexpr uint16_t kUdpBytes = 8 + 4;
  std::vector<uint8_t> packet(header + kUdpBytes);
  if (v4) {
    packet[0] = 0x45;
    store_be16(&packet[2], static_cast<uint16_t>(packet.size()));
    packet[8] = 64;
    packet[9] = 17;
    std::ranges::copy(from.bytes(), packet.begin() + 12);
    std::ranges::copy(to.bytes(), packet.begin() + 16);
    store_be16(&packet[10], internet_checksum(Bytes(packet).first(20)));
  } else {
    packet[0] = 0x60;
    store_be16(&packet[4], kUdpBytes);
    packet[6] = 17;
    packet[7] = 64;
    std::ranges::copy(from.bytes(), packet.begin() + 8);
    std::ranges::copy(to.bytes(), packet.begin() + 24);
  }
  store_be16(&packet[header], source_port);
  store_be16(&packet[header + 2], port);
  store_be16(&packet[header + 4], kUdpBytes);
  InternetSum sum;
  sum.add_pseudo_header(from, to, 17, kUdpBytes);
  sum.add(Bytes(packet).subspan(header));
  store_be16(&packet[header + 6], sum.checksum());
  return packet;
}

class Outer : public NamespaceTest {
 protected:
  void SetUp() override {
    NamespaceTest::SetUp();
    wan_ = make_uplink("wan0", {"192.0.2.2/24", "2001:db8:1::2/64"});
    add_route({.destination = prefix("0.0.0.0/0"),
               .interface = index_of("wan0"),
               .gateway = address("192.0.2.1"),
               .protocol = 4});
    add_route({.destination = prefix("::/0"),
               .interface = index_of("wan0"),
               .gateway = address("2001:db8:1::1"),
               .protocol = 4});
  }
  // A gateway's end of the tunnel, and the pools behind it.
  static InterfaceState pool_interface() {
    return {.addresses = {interface_address("10.8.0.1/32"), interface_address("2001:db8:8::1/128")},
            .routes = {prefix("10.8.0.0/24"), prefix("2001:db8:8::/64")}};
  }
  static std::function<bool(Bytes)> udp_to(uint16_t port) {
    return [port](Bytes packet) {
      const size_t header = packet[0] >> 4 == 4 ? 20 : 40;
      const uint8_t protocol = packet[0] >> 4 == 4 ? packet[9] : packet[6];
      return protocol == 17 && load_be16(packet.data() + header + 2) == port;
    };
  }
  static void put(TransmitBatch& batch, const NetworkPath& path, Ecn ecn, size_t size,
                  uint8_t fill) {
    MutableBytes room = batch.room();
    std::ranges::fill(room.first(size), fill);
    batch.commit(path, ecn, size);
  }

  std::optional<TunDevice> wan_;
};

// proves: J1
TEST_F(Outer, packets_are_never_fragmented_and_carry_ecn) {
  for (const bool v4 : {true, false}) {
    auto socket = UdpSocket::create(
        {.bind = {.address = IpAddress::any(v4 ? IpVersion::V4 : IpVersion::V6)}});
    ASSERT_TRUE(socket);
    const SocketAddress remote{.address = address(v4 ? "198.51.100.1" : "2001:db8:ff::1"),
                               .port = 4433};
    TransmitBatch batch;
    put(batch, {.remote = remote}, Ecn::Ect0, 1500, 1);  // above the interface's MTU
    put(batch, {.remote = remote}, Ecn::Ect0, 1200, 2);
    SendCursor cursor;
    ASSERT_EQ(socket->send_batch(batch, cursor), UdpSocket::SendState::Done);
    const auto packet = read_packet(*wan_, udp_to(4433));
    ASSERT_TRUE(packet);
    EXPECT_EQ(packet->back(), 2);
    EXPECT_EQ(packet->size(), v4 ? 1228u : 1248u);
    if (v4) {
      EXPECT_EQ((*packet)[6] & 0x40, 0x40);  // DF
      EXPECT_EQ((*packet)[1] & 3, 2);
    } else {
      EXPECT_EQ(load_be16(packet->data()) >> 4 & 3, 2);
    }
    EXPECT_EQ(socket->counters().send_too_large, 1u);
    EXPECT_EQ(socket->counters().datagrams_sent, 1u);
  }
}

// A device that can neither segment nor sum still gets every datagram of a run.
TEST_F(Outer, a_run_leaves_through_a_device_without_offloads) {
  auto socket = UdpSocket::create({.bind = {.address = IpAddress::any(IpVersion::V4)}});
  ASSERT_TRUE(socket);
  TransmitBatch batch;
  const NetworkPath path{.remote = {.address = address("198.51.100.1"), .port = 4433}};
  for (uint8_t i = 0; i < 10; ++i) put(batch, path, Ecn::NotEct, 1200, i);
  SendCursor cursor;
  ASSERT_EQ(socket->send_batch(batch, cursor), UdpSocket::SendState::Done);
  TunReadBatch read;
  std::vector<uint8_t> order;
  for (int attempt = 0; attempt < 50 && order.size() < 10; ++attempt) {
    if (!*sys::poll_one(wan_->fd(), POLLIN, 20)) continue;
    ASSERT_TRUE(wan_->read_batch(read));
    for (const TunPacket& packet : read.packets()) {
      if (udp_to(4433)(packet.bytes)) order.push_back(packet.bytes.back());
    }
  }
  EXPECT_EQ(order, (std::vector<uint8_t>{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}));
}

// Whatever was left when the buffer was full leaves later: nothing is lost and nothing is sent
// twice.
TEST_F(Outer, a_full_socket_buffer_keeps_the_rest_of_the_batch) {
  // A slow link: what waits in its queue is charged to the socket.
  ASSERT_EQ(std::system("tc qdisc replace dev wan0 root tbf rate 50mbit burst 16kb limit 1mb"), 0);
  for (const auto offload : {UdpOptions::Offload::On, UdpOptions::Offload::Off}) {
    auto socket = UdpSocket::create({.bind = {.address = IpAddress::any(IpVersion::V4)},
                                     .buffer_bytes = 48 * 1024,
                                     .offload = offload});
    ASSERT_TRUE(socket);
    TransmitBatch batch;
    const NetworkPath path{.remote = {.address = address("198.51.100.1"), .port = 4433}};
    std::vector<uint8_t> expected;
    for (uint8_t i = 0; i < 150; ++i) {
      put(batch, path, Ecn::NotEct, i % 30 == 29 ? 1000 : 1200, i);
      expected.push_back(i);
    }
    SendCursor cursor;
    std::vector<uint8_t> order;
    TunReadBatch read;
    auto state = UdpSocket::SendState::Blocked;
    for (int attempt = 0; attempt < 500 && order.size() < expected.size(); ++attempt) {
      if (state == UdpSocket::SendState::Blocked) state = socket->send_batch(batch, cursor);
      if (!*sys::poll_one(wan_->fd(), POLLIN, 20)) continue;
      ASSERT_TRUE(wan_->read_batch(read));
      for (const TunPacket& packet : read.packets()) {
        if (udp_to(4433)(packet.bytes)) order.push_back(packet.bytes.back());
      }
    }
    EXPECT_EQ(state, UdpSocket::SendState::Done);
    EXPECT_EQ(order, expected);
    EXPECT_GT(socket->counters().send_blocked, 0u);
    EXPECT_EQ(socket->counters().datagrams_sent, expected.size());
  }
}

TEST_F(Outer, without_a_route_datagrams_are_counted_and_the_socket_lives) {
  ASSERT_TRUE(
      netlink().remove_route({.destination = prefix("0.0.0.0/0"), .interface = index_of("wan0")}));
  auto socket = UdpSocket::create({.bind = {.address = IpAddress::any(IpVersion::V4)}});
  ASSERT_TRUE(socket);
  const SocketAddress remote{.address = address("198.51.100.1"), .port = 4433};
  const auto send = [&] {
    TransmitBatch batch;
    put(batch, {.remote = remote}, Ecn::NotEct, 1200, 1);
    SendCursor cursor;
    return socket->send_batch(batch, cursor);
  };
  EXPECT_EQ(send(), UdpSocket::SendState::Done);
  EXPECT_EQ(socket->counters().send_unreachable, 1u);
  EXPECT_FALSE(source_address_for(remote));
  add_route({.destination = prefix("0.0.0.0/0"), .interface = index_of("wan0")});
  EXPECT_EQ(send(), UdpSocket::SendState::Done);
  EXPECT_EQ(socket->counters().datagrams_sent, 1u);
  EXPECT_EQ(*source_address_for(remote), address("192.0.2.2"));
}

// proves: Z6
TEST_F(Outer, a_marked_socket_passes_the_full_tunnel_by) {
  TunDevice tun = make_tun("vpn0");
  auto tunnel = TunnelInterface::start({.name = "vpn0"});
  ASSERT_TRUE(tunnel);
  const SocketAddress remote{.address = address("198.51.100.1"), .port = 4433};
  ASSERT_TRUE(tunnel->apply({.addresses = {interface_address("10.8.0.2/32")},
                             .routes = {prefix("0.0.0.0/0")},
                             .outer = {remote.address}}));
  EXPECT_EQ(*source_address_for(remote, tunnel->mark()), address("192.0.2.2"));
  EXPECT_EQ(*source_address_for(remote), address("10.8.0.2"));
  auto marked = UdpSocket::create(
      {.bind = {.address = IpAddress::any(IpVersion::V4)}, .mark = tunnel->mark()});
  auto other = UdpSocket::create({.bind = {.address = IpAddress::any(IpVersion::V4)}});
  ASSERT_TRUE(marked && other);
  for (UdpSocket* socket : {&*marked, &*other}) {
    TransmitBatch batch;
    put(batch, {.remote = remote}, Ecn::NotEct, 1000, socket == &*marked ? 1 : 2);
    SendCursor cursor;
    ASSERT_EQ(socket->send_batch(batch, cursor), UdpSocket::SendState::Done);
  }
  const auto outside = read_packet(*wan_, udp_to(4433));
  const auto inside = read_packet(tun, udp_to(4433));
  ASSERT_TRUE(outside && inside);
  EXPECT_EQ(outside->back(), 1);
  EXPECT_EQ(inside->back(), 2);
}

// A strict reverse path filter must not take the server's answers for spoofed ones.
TEST_F(Outer, a_full_tunnel_works_with_a_strict_reverse_path_filter) {
  for (const char* which : {"all", "wan0"}) {
    const std::string file = std::string("/proc/sys/net/ipv4/conf/") + which + "/rp_filter";
    ASSERT_TRUE(sys::write_file(file, "1"));
  }
  TunDevice tun = make_tun("vpn0");
  const SocketAddress remote{.address = address("198.51.100.1"), .port = 4433};
  {
    auto tunnel = TunnelInterface::start({.name = "vpn0"});
    ASSERT_TRUE(tunnel);
    const auto report = tunnel->apply({.addresses = {interface_address("10.8.0.2/32")},
                                       .routes = {prefix("0.0.0.0/0")},
                                       .outer = {remote.address}});
    ASSERT_TRUE(report);
    EXPECT_FALSE(report->return_path_blocked);
    auto socket = UdpSocket::create(
        {.bind = {.address = IpAddress::any(IpVersion::V4)}, .mark = tunnel->mark()});
    ASSERT_TRUE(socket);
    const uint16_t port = socket->local_address().port;
    ASSERT_TRUE(wan_->write(udp_packet(remote.address, address("192.0.2.2"), 4433, port)));
    ASSERT_TRUE(*sys::poll_one(socket->fd(), POLLIN, 1000)) << "the answer was filtered";
    ReceiveBatch batch;
    ASSERT_TRUE(socket->receive_batch(batch));
    EXPECT_EQ(batch.datagrams().size(), 1u);
    // Others are still filtered: their way back is the tunnel.
    ASSERT_TRUE(wan_->write(udp_packet(address("203.0.113.66"), address("192.0.2.2"), 4433, port)));
    EXPECT_FALSE(*sys::poll_one(socket->fd(), POLLIN, 100));
  }
  EXPECT_EQ(*sys::read_file("/proc/sys/net/ipv4/conf/all/src_valid_mark"), "0\n");
  EXPECT_EQ(std::system("test -z \"$(nft list tables)\""), 0);
}

TEST_F(Outer, nat_hides_the_pool_and_answers_find_their_way_back) {
  TunDevice tun = make_tun("vpn0");
  auto tunnel = TunnelInterface::start({.name = "vpn0"});
  ASSERT_TRUE(tunnel);
  ASSERT_TRUE(tunnel->apply(pool_interface()));
  {
    const auto forwarding = IpForwarding::enable({IpVersion::V4, IpVersion::V6});
    ASSERT_TRUE(forwarding) << forwarding.error().message();
    const NatOptions options{.tun_name = "vpn0",
                             .sources = {prefix("10.8.0.0/24"), prefix("2001:db8:8::/64")},
                             .clamp_mss = NatOptions::ClampMss::ToRouteMtu};
    const auto stale = Nat::create(options);
    ASSERT_TRUE(stale) << stale.error().message();
    const auto nat = Nat::create(options);  // replaces, does not stack
    ASSERT_TRUE(nat) << nat.error().message();
    struct Case {
      const char* inside;
      const char* outside;
      const char* target;
    };
    for (const Case& test : {Case{"10.8.0.2", "192.0.2.2", "203.0.113.9"},
                             Case{"2001:db8:8::2", "2001:db8:1::2", "2001:db8:abc::9"}}) {
      const auto packet = udp_packet(address(test.inside), address(test.target), 5000, 53);
      ASSERT_TRUE(tun.write(packet));
      const auto sent = read_packet(*wan_, udp_to(53));
      ASSERT_TRUE(sent) << test.inside;
      const auto view = parse_ip_packet(*sent);
      ASSERT_TRUE(view);
      EXPECT_EQ(view->source, address(test.outside));
      const uint16_t port = load_be16(sent->data() + (sent->size() - 12));
      ASSERT_TRUE(wan_->write(udp_packet(address(test.target), address(test.outside), 53, port)));
      const auto answer = read_packet(tun, udp_to(5000));
      ASSERT_TRUE(answer) << test.inside;
      EXPECT_EQ(parse_ip_packet(*answer)->destination, address(test.inside));
    }
  }
  // Everything is as it was.
  EXPECT_FALSE(*IpForwarding::enabled(IpVersion::V4));
  EXPECT_FALSE(*IpForwarding::enabled(IpVersion::V6));
  EXPECT_EQ(std::system("test -z \"$(nft list tables)\""), 0);
}

// `nat.interfaces`: whoever has a second uplink names the one that needs NAT; the other one leads
// to networks that know the way back to the pool.
TEST_F(Outer, nat_changes_the_source_on_the_named_interfaces_alone) {
  TunDevice office = make_uplink("office0", {"172.20.0.2/24", "2001:db8:20::2/64"});
  TunDevice tun = make_tun("vpn0");
  auto tunnel = TunnelInterface::start({.name = "vpn0"});
  ASSERT_TRUE(tunnel);
  ASSERT_TRUE(tunnel->apply(pool_interface()));
  const auto forwarding = IpForwarding::enable({IpVersion::V4, IpVersion::V6});
  ASSERT_TRUE(forwarding) << forwarding.error().message();
  NatOptions options{.tun_name = "vpn0",
                     .sources = {prefix("10.8.0.0/24"), prefix("2001:db8:8::/64")},
                     .interfaces = {"wan0"}};
  auto nat = Nat::create(options);
  ASSERT_TRUE(nat) << nat.error().message();
  uint16_t port = 5000;  // another one each time: the kernel remembers what it did to a flow
  const auto source_at = [&](TunDevice& uplink, const char* from, const char* to) -> std::string {
    ++port;
    if (!tun.write(udp_packet(address(from), address(to), port, 53))) return "not written";
    const auto sent = read_packet(uplink, udp_to(53));
    if (!sent) return "nothing came";
    return parse_ip_packet(*sent)->source.to_string();
  };
  EXPECT_EQ(source_at(*wan_, "10.8.0.2", "203.0.113.9"), "192.0.2.2");
  EXPECT_EQ(source_at(*wan_, "2001:db8:8::2", "2001:db8:abc::9"), "2001:db8:1::2");
  EXPECT_EQ(source_at(office, "10.8.0.2", "172.20.0.9"), "10.8.0.2");
  EXPECT_EQ(source_at(office, "2001:db8:8::2", "2001:db8:20::9"), "2001:db8:8::2");
  options.interfaces = {"wan0", "office0"};
  ASSERT_TRUE(nat->replace(options));
  EXPECT_EQ(source_at(office, "10.8.0.2", "172.20.0.9"), "172.20.0.2");
  options.interfaces = {};
  ASSERT_TRUE(nat->replace(options));
  EXPECT_EQ(source_at(office, "2001:db8:8::2", "2001:db8:20::9"), "2001:db8:20::2");
  EXPECT_EQ(source_at(*wan_, "10.8.0.2", "203.0.113.9"), "192.0.2.2");
}

// An uplink that lives from router advertisements must not lose its default route.
TEST_F(Outer, forwarding_keeps_router_advertisements_accepted) {
  const std::string file = "/proc/sys/net/ipv6/conf/wan0/accept_ra";
  ASSERT_TRUE(sys::write_file(file, "1"));
  {
    const auto forwarding = IpForwarding::enable({IpVersion::V6});
    ASSERT_TRUE(forwarding) << forwarding.error().message();
    EXPECT_EQ(*sys::read_file(file), "2\n");
  }
  EXPECT_EQ(*sys::read_file(file), "1\n");
  EXPECT_FALSE(*IpForwarding::enabled(IpVersion::V6));
}

// faults.md A1: what a killed gateway left switched on goes off with the next one.
TEST_F(Outer, forwarding_of_a_crashed_run_is_put_back_by_the_next) {
  const std::string note = std::format("/tmp/masque-forwarding-{}", ::getpid());
  ASSERT_TRUE(sys::write_file("/proc/sys/net/ipv4/ip_forward", "1"));
  ASSERT_TRUE(sys::open(note, O_WRONLY | O_CREAT, 0600));
  ASSERT_TRUE(sys::write_file(note, "/proc/sys/net/ipv4/ip_forward 0 1\n/etc/passwd 0 1\n"));
  {
    const auto forwarding = IpForwarding::enable({IpVersion::V4}, note);
    ASSERT_TRUE(forwarding) << forwarding.error().message();
    EXPECT_TRUE(*IpForwarding::enabled(IpVersion::V4));
    EXPECT_TRUE(sys::read_file(note));
  }
  EXPECT_FALSE(*IpForwarding::enabled(IpVersion::V4));
  EXPECT_FALSE(sys::read_file(note));
}

// faults.md A1: the next one may be told to forward nothing.
TEST_F(Outer, forwarding_of_a_crashed_run_is_put_back_by_one_that_forwards_nothing) {
  const std::string note = std::format("/tmp/masque-forwarding-{}", ::getpid());
  const std::string accept_ra = "/proc/sys/net/ipv6/conf/wan0/accept_ra";
  ASSERT_TRUE(sys::write_file("/proc/sys/net/ipv6/conf/all/forwarding", "1"));
  ASSERT_TRUE(sys::write_file(accept_ra, "2"));
  ASSERT_TRUE(sys::open(note, O_WRONLY | O_CREAT, 0600));
  ASSERT_TRUE(sys::write_file(
      note, std::format("{} 1 2\n{} 0 1\n", accept_ra, "/proc/sys/net/ipv6/conf/all/forwarding")));
  IpForwarding::recall(note);
  EXPECT_FALSE(*IpForwarding::enabled(IpVersion::V6));
  EXPECT_EQ(*sys::read_file(accept_ra), "1\n");
  EXPECT_FALSE(sys::read_file(note));
}

// faults.md A1: a full tunnel that was killed, and one after it that is not full.
TEST_F(Outer, the_mark_setting_of_a_crashed_run_is_put_back_by_the_next) {
  const std::string note = std::format("/tmp/masque-return-{}", ::getpid());
  const std::string setting = "/proc/sys/net/ipv4/conf/all/src_valid_mark";
  TunDevice tun = make_tun("vpn0");
  const InterfaceState full{.addresses = {interface_address("10.8.0.2/32")},
                            .routes = {prefix("0.0.0.0/0")},
                            .outer = {address("198.51.100.1")}};
  const auto killed = ::fork();
  if (killed == 0) {
    auto tunnel = TunnelInterface::start({.name = "vpn0", .note = note});
    const bool done = tunnel && tunnel->apply(full);
    ::_exit(done ? 0 : 1);  // without destructors
  }
  int status = -1;
  ASSERT_EQ(::waitpid(killed, &status, 0), killed);
  ASSERT_EQ(status, 0);
  ASSERT_EQ(*sys::read_file(setting), "1\n");
  {
    auto tunnel = TunnelInterface::start({.name = "vpn0", .note = note});
    ASSERT_TRUE(tunnel);
    EXPECT_EQ(*sys::read_file(setting), "0\n");
    ASSERT_TRUE(tunnel->apply(full));
    EXPECT_EQ(*sys::read_file(setting), "1\n");
  }
  EXPECT_EQ(*sys::read_file(setting), "0\n");
  EXPECT_FALSE(sys::read_file(note));
}

TEST_F(Outer, nat_of_a_crashed_run_is_removed_by_one_without_nat) {
  auto nat = Nat::create({.tun_name = "vpn0", .sources = {prefix("10.8.0.0/24")}});
  ASSERT_TRUE(nat) << nat.error().message();
  EXPECT_NE(std::system("test -z \"$(nft list tables)\""), 0);
  Nat::remove_stale("vpn0");
  EXPECT_EQ(std::system("test -z \"$(nft list tables)\""), 0);
  Nat::remove_stale("vpn0");  // there is none
}

TEST_F(Outer, forwarding_that_was_on_stays_on) {
  ASSERT_TRUE(sys::write_file("/proc/sys/net/ipv4/ip_forward", "1"));
  {
    ASSERT_TRUE(IpForwarding::enable({IpVersion::V4}));
  }
  EXPECT_TRUE(*IpForwarding::enabled(IpVersion::V4));
}

}  // namespace
}  // namespace masque::netns
