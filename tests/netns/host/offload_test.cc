// SPDX-License-Identifier: Apache-2.0
// The offloaded path delivers the same bytes as the plain one, between real kernels' TCP and UDP:
//
//     namespace 1: sockets - left (TUN) -- this program: split, merge -- right (TUN) - sockets :
//     namespace 2
//
// Each side is run with and without offload, in all four combinations and both IP versions.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <netinet/udp.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <string>
#include <tuple>

#include "base/rng.h"
#include "core/ip/coalesce.h"
#include "core/ip/segment.h"
#include "host/clock.h"
#include "host/interface_config.h"
#include "host/socket_name.h"
#include "namespace.h"

namespace masque::netns {
namespace {

using Offload = TunOptions::Offload;

// One namespace with a TUN in it.
struct Side {
  UniqueFd network;
  std::optional<TunDevice> tun;
  std::optional<PacketCoalescer> coalescer;
  TunReadBatch batch;
  uint64_t packets_out = 0;  // IP packets read from the TUN, after splitting
  uint64_t super_packets_in = 0;

  void enter() const { ASSERT_EQ(::setns(network.get(), CLONE_NEWNET), 0); }
};

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
    side.coalescer.emplace(side.tun->merge());
    auto tunnel = TunnelInterface::start({.name = name});
    ASSERT_TRUE(tunnel) << tunnel.error().message();
    const InterfaceAddress own = side_address(version_, number);
    ASSERT_TRUE(tunnel->apply({.addresses = {own},
                               .routes = {IpPrefix::containing(own.address, own.length)},
                               .mtu = 1400}));
    interfaces_.push_back(std::move(*tunnel));
  }

  // Moves everything that waits at `from` to `to`, as a tunnel would.
  static void relay(Side& from, Side& to) {
    ASSERT_TRUE(from.tun->read_batch(from.batch));
    const auto flush = [&to] {
      const auto merged = to.coalescer->flush();
      to.super_packets_in += static_cast<uint64_t>(std::ranges::count_if(
          merged, [](const CoalescedPacket& packet) { return packet.packets > 1; }));
      ASSERT_TRUE(to.tun->write_batch(merged));
    };
    for (const TunPacket& packet : from.batch.packets()) {
      auto splitter = SuperPacketSplitter::make(packet.offload, packet.bytes);
      ASSERT_TRUE(splitter) << to_string(splitter.error());
      PacketSlices slices;
      while (splitter->next(slices)) {
        std::vector<uint8_t> whole(slices.head.begin(), slices.head.end());
        whole.insert(whole.end(), slices.body.begin(), slices.body.end());
        ASSERT_LE(whole.size(), 1400u);
        const auto view = parse_ip_packet(whole);
        ASSERT_TRUE(view);
        ++from.packets_out;
        if (!to.coalescer->add(*view, whole)) {
          flush();
          ASSERT_TRUE(to.coalescer->add(*view, whole));
        }
      }
    }
    flush();
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
