// SPDX-License-Identifier: Apache-2.0
// The offloaded path delivers the same packets as the plain one, between real kernels' TCP and UDP:
//
//     namespace 1: sockets - left (TUN) -- read_packets, PacketIo -- right (TUN) - sockets :
//     namespace 2
//
// Each side is run with and without offload, in all four combinations and both IP versions. What a
// kernel hands over is cut as that kernel would (segments.h); what the other one is handed is
// captured there and cut into packets again: headers and payload are those that went into PacketIo.
#include <arpa/inet.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <netinet/udp.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <string>
#include <tuple>

#include "base/rng.h"
#include "core/ip/segment.h"
#include "host/clock.h"
#include "host/interface_config.h"
#include "host/packet_io.h"
#include "host/packet_turn.h"
#include "host/socket_name.h"
#include "host/vnet_header.h"
#include "namespace.h"
#include "segments.h"

namespace masque::netns {
namespace {

using Offload = TunOptions::Offload;

using Packet = std::vector<uint8_t>;

// One namespace with a TUN in it.
struct Side {
  UniqueFd network;
  std::optional<TunDevice> tun;
  std::optional<PacketIo> io;
  TunReadBatch batch;
  uint64_t packets_out = 0;      // IP packets read from the TUN, after splitting
  std::vector<Packet> given;     // to PacketIo, for this side's TUN
  UniqueFd capture;              // of what this kernel gets from its TUN
  std::vector<Packet> received;  // from there, cut into packets
  uint64_t super_packets_in = 0;

  void enter() const { ASSERT_EQ(::setns(network.get(), CLONE_NEWNET), 0); }
};

// What merging may change: the identification of IPv4 packets that are never fragmented (RFC 6864).
Packet normalised(Packet packet) {
  if (packet[0] >> 4 != 4 || (packet[6] & 0x40) == 0) return packet;
  for (const size_t at : {4u, 5u, 10u, 11u}) packet[at] = 0;
  return packet;
}

std::string headers_of(const Packet& packet) {
  return to_hex(Bytes(packet).first(std::min<size_t>(packet.size(), 72)));
}

class OffloadPaths : public testing::TestWithParam<std::tuple<Offload, Offload, IpVersion>> {
 protected:
  void SetUp() override {
    version_ = std::get<2>(GetParam());
    ASSERT_NO_FATAL_FAILURE(make_side(left_, "left0", std::get<0>(GetParam()), 1));
    ASSERT_NO_FATAL_FAILURE(make_side(right_, "right0", std::get<1>(GetParam()), 2));
  }

  static InterfaceAddress side_address(IpVersion version, int number) {
    const std::string text = version == IpVersion::V4 ? "10.77.0." : "2001:db8:77::";
    return {.address = *IpAddress::parse(text + std::to_string(number)),
            .length = static_cast<uint8_t>(version == IpVersion::V4 ? 24 : 64)};
  }

  void make_side(Side& side, const char* name, Offload offload, int number) {
    ASSERT_EQ(::unshare(CLONE_NEWNET), 0) << "a namespace test needs root";
    side.network = std::move(*sys::open("/proc/thread-self/ns/net", O_RDONLY));
    auto tun = TunDevice::open({.name = name, .offload = offload});
    ASSERT_TRUE(tun) << tun.error().message();
    side.tun = std::move(*tun);
    side.io.emplace(*side.tun);
    auto tunnel = TunnelInterface::start({.name = name});
    ASSERT_TRUE(tunnel) << tunnel.error().message();
    const InterfaceAddress own = side_address(version_, number);
    ASSERT_TRUE(tunnel->apply({.addresses = {own},
                               .routes = {IpPrefix::containing(own.address, own.length)},
                               .mtu = 1400}));
    interfaces_.push_back(std::move(*tunnel));
    ASSERT_NO_FATAL_FAILURE(start_capture(side));
  }

  static void start_capture(Side& side) {
    side.capture = std::move(*sys::socket(AF_PACKET, SOCK_RAW, htons(ETH_P_ALL)));
    const int fd = side.capture.get();
    ASSERT_TRUE(sys::set_option(fd, SOL_PACKET, PACKET_VNET_HDR, 1, "PACKET_VNET_HDR"));
    ASSERT_TRUE(sys::set_option(fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, 1, "IGNORE_OUTGOING"));
    ASSERT_TRUE(sys::set_option(fd, SOL_SOCKET, SO_RCVBUFFORCE, 64 << 20, "SO_RCVBUFFORCE"));
    sockaddr_ll name{};
    name.sll_family = AF_PACKET;
    name.sll_protocol = htons(ETH_P_ALL);
    name.sll_ifindex = static_cast<int>(::if_nametoindex(side.tun->name().c_str()));
    ASSERT_TRUE(sys::bind(fd, reinterpret_cast<const sockaddr*>(&name), sizeof(name)));
  }

  // Cuts a packet or super-packet into packets as they are on a wire.
  template <class Sink>
  static void cut(const OffloadInfo& offload, MutableBytes bytes, Sink&& sink) {
    auto splitter = SuperPacketSplitter::make(offload, bytes);
    ASSERT_TRUE(splitter) << to_string(splitter.error());
    PacketSlices slices;
    while (splitter->next(slices)) sink(whole(slices));
  }
  static Packet whole(const PacketSlices& slices) {
    Packet out(slices.head.begin(), slices.head.end());
    out.insert(out.end(), slices.body.begin(), slices.body.end());
    return out;
  }

  static void collect(Side& side) {
    static std::vector<uint8_t> buffer(128 * 1024);
    while (const auto count = sys::receive(side.capture.get(), buffer)) {
      ASSERT_GT(*count, kVnetHeaderBytes);
      const auto offload = read_vnet_header(buffer.data());
      ASSERT_TRUE(offload);
      const auto before = side.received.size();
      cut(*offload, MutableBytes(buffer).subspan(kVnetHeaderBytes, *count - kVnetHeaderBytes),
          [&](Packet packet) { side.received.push_back(std::move(packet)); });
      side.super_packets_in += side.received.size() > before + 1 ? 1u : 0u;
    }
  }

  // Every packet that was to be delivered came, in order, headers and all. Not what the kernels say
  // of themselves (IPv6 router solicitations): order is kept within a flow.
  static void expect_same_packets(const Side& side) {
    const auto given = of_the_flow(side.given), received = of_the_flow(side.received);
    ASSERT_GT(given.size(), 10u);
    ASSERT_EQ(received.size(), given.size());
    for (size_t i = 0; i < given.size(); ++i) {
      ASSERT_EQ(headers_of(received[i]), headers_of(given[i])) << "packet " << i;
      ASSERT_TRUE(received[i] == given[i]) << "packet " << i;
    }
  }
  static std::vector<Packet> of_the_flow(const std::vector<Packet>& packets) {
    std::vector<Packet> out;
    for (const Packet& packet : packets) {
      const auto view = parse_ip_packet(packet);
      if (view && (view->protocol == ip_protocol::kTcp || view->protocol == ip_protocol::kUdp))
        out.push_back(normalised(packet));
    }
    return out;
  }

  // Moves everything that waits at `from` to `to`, as a tunnel would.
  static void relay(Side& from, Side& to) {
    const size_t before = to.given.size();
    ASSERT_TRUE(read_packets(*from.tun, from.batch, [&](const PacketSlices& slices) {
      const Packet packet = whole(slices);
      EXPECT_LE(packet.size(), 1400u);
      EXPECT_TRUE(parse_ip_packet(packet));
      ++from.packets_out;
      to.given.push_back(packet);
      to.io->deliver(packet);
    }));
    std::span<const Packet> pieces = std::span(to.given).subspan(before);
    for (const TunPacket& packet : from.batch.packets()) {
      const SuperPacket super(packet);
      ASSERT_LE(super.packets(), pieces.size());
      ASSERT_NO_FATAL_FAILURE(super.expect_cut_into(pieces.first(super.packets())));
      pieces = pieces.subspan(super.packets());
    }
    ASSERT_TRUE(pieces.empty());
    to.io->finish_turn();
    collect(to);
  }
  void relay_both() {
    relay(left_, right_);
    relay(right_, left_);
  }

  UniqueFd make_socket(const Side& side, int type) {
    side.enter();
    return std::move(*sys::socket(version_ == IpVersion::V4 ? AF_INET : AF_INET6, type, 0));
  }
  SocketName name_of(int number, uint16_t port) {
    return to_socket_name({.address = side_address(version_, number).address, .port = port});
  }

  IpVersion version_ = IpVersion::V4;
  Side left_;
  Side right_;
  std::vector<TunnelInterface> interfaces_;
};

std::vector<uint8_t> random_bytes(size_t size, uint64_t seed) {
  std::vector<uint8_t> bytes(size);
  SeededRng rng(seed);
  rng.fill(bytes);
  return bytes;
}

// Both directions at once, so that segments carry data and acknowledgements.
TEST_P(OffloadPaths, tcp_delivers_the_same_bytes) {
  constexpr size_t kBytes = 4 << 20;
  const UniqueFd listener = make_socket(right_, SOCK_STREAM);
  const SocketName to = name_of(2, 7000);
  ASSERT_TRUE(sys::bind(listener.get(), &to.any, to.length) && sys::listen(listener.get(), 1));
  const UniqueFd client = make_socket(left_, SOCK_STREAM);
  const auto connecting = sys::connect(client.get(), &to.any, to.length);
  ASSERT_TRUE(connecting || connecting.error().code == EINPROGRESS);
  UniqueFd server;
  const Instant deadline = monotonic_now() + 20s;
  while (!server.valid() && monotonic_now() < deadline) {
    relay_both();
    if (auto accepted = sys::accept(listener.get())) server = std::move(*accepted);
  }
  ASSERT_TRUE(server.valid());

  struct Stream {
    int from;
    int to;
    std::vector<uint8_t> sent;
    size_t offset = 0;
    std::vector<uint8_t> got = {};
  };
  Stream streams[] = {{client.get(), server.get(), random_bytes(kBytes, 1)},
                      {server.get(), client.get(), random_bytes(kBytes / 4, 2)}};
  std::vector<uint8_t> piece(256 * 1024);
  const auto step = [&](Stream& stream) {
    if (stream.offset < stream.sent.size()) {
      if (const auto done = sys::send(stream.from, Bytes(stream.sent).subspan(stream.offset)))
        stream.offset += *done;
    }
    if (const auto got = sys::receive(stream.to, piece)) {
      stream.got.insert(stream.got.end(), piece.begin(),
                        piece.begin() + static_cast<ptrdiff_t>(*got));
    }
    return stream.got.size() == stream.sent.size();
  };
  bool done = false;
  while (!done && monotonic_now() < deadline && !HasFatalFailure()) {
    const bool first = step(streams[0]);
    done = step(streams[1]) && first;
    relay_both();
  }
  for (const Stream& stream : streams)
    EXPECT_TRUE(stream.got == stream.sent) << stream.got.size() << " bytes arrived";

  expect_same_packets(right_);
  expect_same_packets(left_);
  // The fast path was taken: whole super-packets in and out.
  if (std::get<0>(GetParam()) == Offload::On) {
    EXPECT_LT(left_.tun->counters().reads * 2, left_.packets_out);
  }
  if (std::get<1>(GetParam()) == Offload::On) {
    EXPECT_GT(right_.super_packets_in, 0u);
  }
}

// Every datagram arrives as it was sent, also when the sender hands the kernel a train of them.
TEST_P(OffloadPaths, udp_delivers_the_same_datagrams) {
  const UniqueFd receiver = make_socket(right_, SOCK_DGRAM);
  const SocketName to = name_of(2, 7001);
  ASSERT_TRUE(sys::bind(receiver.get(), &to.any, to.length));
  ASSERT_TRUE(
      sys::set_option(receiver.get(), SOL_SOCKET, SO_RCVBUFFORCE, 8 << 20, "SO_RCVBUFFORCE"));
  const UniqueFd sender = make_socket(left_, SOCK_DGRAM);
  ASSERT_TRUE(sys::connect(sender.get(), &to.any, to.length));
  ASSERT_TRUE(sys::set_option(sender.get(), IPPROTO_UDP, UDP_SEGMENT, 1200, "UDP_SEGMENT"));

  std::vector<std::vector<uint8_t>> expected;
  std::vector<std::vector<uint8_t>> got;
  SeededRng rng(3);
  std::vector<uint8_t> piece(65536);
  const auto collect = [&] {
    relay_both();
    while (const auto count = sys::receive(receiver.get(), piece)) {
      got.emplace_back(piece.begin(), piece.begin() + static_cast<ptrdiff_t>(*count));
    }
  };
  for (int round = 0; round < 60; ++round) {
    // Trains of up to 24 datagrams whose last one is of any size, single ones among them.
    const size_t size = 1 + rng.below(round % 3 == 0 ? 1200 : 24 * 1200);
    const auto train = random_bytes(size, 100 + static_cast<uint64_t>(round));
    ASSERT_TRUE(sys::send(sender.get(), train));
    for (size_t at = 0; at < size; at += 1200) {
      const auto begin = train.begin() + static_cast<ptrdiff_t>(at);
      expected.emplace_back(begin,
                            begin + static_cast<ptrdiff_t>(std::min<size_t>(1200, size - at)));
    }
    collect();
  }
  const Instant deadline = monotonic_now() + 5s;
  while (got.size() < expected.size() && monotonic_now() < deadline) collect();
  EXPECT_EQ(got.size(), expected.size());
  EXPECT_TRUE(got == expected);
  expect_same_packets(right_);
  if (std::get<0>(GetParam()) == Offload::On) {
    EXPECT_LT(left_.tun->counters().reads * 2, left_.packets_out);
  }
  if (std::get<1>(GetParam()) == Offload::On) {
    EXPECT_GT(right_.super_packets_in, 0u);
  }
}

INSTANTIATE_TEST_SUITE_P(Combinations, OffloadPaths,
                         testing::Combine(testing::Values(Offload::Off, Offload::On),
                                          testing::Values(Offload::Off, Offload::On),
                                          testing::Values(IpVersion::V4, IpVersion::V6)),
                         [](const auto& test) {
                           const auto word = [](Offload offload) {
                             return offload == Offload::On ? "offload" : "plain";
                           };
                           return std::string(word(std::get<0>(test.param))) + "_to_" +
                                  word(std::get<1>(test.param)) +
                                  (std::get<2>(test.param) == IpVersion::V4 ? "_v4" : "_v6");
                         });

}  // namespace
}  // namespace masque::netns
