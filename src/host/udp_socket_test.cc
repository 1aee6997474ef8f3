// SPDX-License-Identifier: Apache-2.0
#include "host/udp_socket.h"

#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <stdexcept>
#include <vector>

#include "host/system.h"
#include "host/unique_fd.h"

namespace masque {
namespace {

IpAddress loopback(IpVersion version) {
  return *IpAddress::parse(version == IpVersion::V4 ? "127.0.0.1" : "::1");
}

class UdpLoopback : public testing::TestWithParam<IpVersion> {
 protected:
  static UdpSocket make(const UdpOptions& options) {
    auto socket = UdpSocket::create(options);
    if (!socket) throw std::runtime_error(socket.error().message());
    return std::move(*socket);
  }
  UdpSocket bound() { return make({.bind = {.address = loopback(GetParam())}}); }
  UdpSocket bound_to_any() { return make({.bind = {.address = IpAddress::any(GetParam())}}); }

  // Copies, because the spans live only until the next receive.
  struct Received {
    NetworkPath path;
    Ecn ecn;
    std::vector<uint8_t> bytes;
  };
  static std::vector<Received> receive(UdpSocket& socket, size_t at_least) {
    std::vector<Received> all;
    ReceiveBatch batch;
    while (all.size() < at_least) {
      if (!sys::poll_one(socket.fd(), POLLIN, 2000).value_or(false)) break;
      EXPECT_TRUE(socket.receive_batch(batch));
      for (const ReceivedDatagram& datagram : batch.datagrams()) {
        all.push_back(
            {datagram.path, datagram.ecn, {datagram.bytes.begin(), datagram.bytes.end()}});
      }
    }
    return all;
  }

  static void fill(TransmitBatch& batch, const NetworkPath& path, Ecn ecn,
                   const std::vector<size_t>& sizes, uint8_t seed = 1) {
    for (const size_t size : sizes) {
      MutableBytes room = batch.room();
      ASSERT_FALSE(room.empty());
      for (size_t i = 0; i < size; ++i) room[i] = static_cast<uint8_t>(seed + i * 7);
      ++seed;
      batch.commit(path, ecn, size);
    }
  }
  static NetworkPath path(const UdpSocket& from, const UdpSocket& to) {
    return {.local = from.local_address(),
            .remote = {.address = loopback(to.local_address().address.version()),
                       .port = to.local_address().port}};
  }
};

// 12,000 bytes leave in one message and arrive as ten datagrams with their ECN bits.
// proves: EC1
TEST_P(UdpLoopback, a_run_of_12000_bytes_arrives_split_with_ecn_intact) {
  UdpSocket from = bound();
  UdpSocket to = bound();
  for (const Ecn ecn : {Ecn::NotEct, Ecn::Ect0, Ecn::Ect1, Ecn::Ce}) {
    TransmitBatch batch;
    fill(batch, path(from, to), ecn, std::vector<size_t>(10, 1200));
    ASSERT_EQ(batch.runs().size(), 1u);
    SendCursor cursor;
    const uint64_t calls = from.counters().send_calls;
    ASSERT_EQ(from.send_batch(batch, cursor), UdpSocket::SendState::Done);
    EXPECT_EQ(from.counters().send_calls, calls + 1);
    const auto got = receive(to, 10);
    ASSERT_EQ(got.size(), 10u);
    for (size_t i = 0; i < got.size(); ++i) {
      const Bytes sent = batch.bytes(batch.runs()[0]).subspan(i * 1200, 1200);
      EXPECT_TRUE(std::ranges::equal(got[i].bytes, sent)) << i;
      EXPECT_EQ(got[i].ecn, ecn);
      EXPECT_EQ(got[i].path.local, to.local_address());
      EXPECT_EQ(got[i].path.remote, from.local_address());
    }
  }
  EXPECT_EQ(from.counters().gso_refused, 0u);
}

TEST_P(UdpLoopback, a_short_last_datagram_ends_its_run) {
  UdpSocket from = bound();
  UdpSocket to = bound();
  TransmitBatch batch;
  fill(batch, path(from, to), Ecn::Ect0, {1300, 1300, 77, 1300, 1301, 5});
  SendCursor cursor;
  ASSERT_EQ(from.send_batch(batch, cursor), UdpSocket::SendState::Done);
  const auto got = receive(to, 6);
  ASSERT_EQ(got.size(), 6u);
  const std::vector<size_t> sizes = {1300, 1300, 77, 1300, 1301, 5};
  for (size_t i = 0; i < sizes.size(); ++i) EXPECT_EQ(got[i].bytes.size(), sizes[i]);
}

// A gateway is bound to any(): it learns to which of its addresses a client spoke, and answers from
// there.
TEST_P(UdpLoopback, the_local_address_of_each_datagram_is_known_and_can_be_chosen) {
  UdpSocket from = bound();
  UdpSocket to = bound_to_any();
  ASSERT_TRUE(to.local_address().address.is_any());
  TransmitBatch batch;
  fill(batch, path(from, to), Ecn::NotEct, {1200});
  SendCursor cursor;
  from.send_batch(batch, cursor);
  const auto got = receive(to, 1);
  ASSERT_EQ(got.size(), 1u);
  EXPECT_EQ(got[0].path.local.address, loopback(GetParam()));
  EXPECT_EQ(got[0].path.local.port, to.local_address().port);

  TransmitBatch answer;
  fill(answer, got[0].path, Ecn::NotEct, {1200});
  SendCursor answer_cursor;
  to.send_batch(answer, answer_cursor);
  const auto back = receive(from, 1);
  ASSERT_EQ(back.size(), 1u);
  EXPECT_EQ(back[0].path.remote, got[0].path.local);
}

TEST(UdpSource, another_loopback_address_is_used_as_asked) {
  auto from = UdpSocket::create({.bind = {.address = IpAddress::any(IpVersion::V4)}});
  auto to = UdpSocket::create({.bind = {.address = *IpAddress::parse("127.0.0.1")}});
  ASSERT_TRUE(from && to);
  TransmitBatch batch;
  MutableBytes room = batch.room();
  room[0] = 1;
  const SocketAddress source{.address = *IpAddress::parse("127.0.0.77"),
                             .port = from->local_address().port};
  batch.commit({.local = source, .remote = to->local_address()}, Ecn::NotEct, 1);
  SendCursor cursor;
  ASSERT_EQ(from->send_batch(batch, cursor), UdpSocket::SendState::Done);
  ASSERT_TRUE(*sys::poll_one(to->fd(), POLLIN, 2000));
  ReceiveBatch got;
  ASSERT_TRUE(to->receive_batch(got));
  ASSERT_EQ(got.datagrams().size(), 1u);
  EXPECT_EQ(got.datagrams()[0].path.remote, source);
}

// Receives as the kernel shows it, with the flow label of what arrives.
class FlowLabels {
 public:
  FlowLabels() : fd_(sys::socket(AF_INET6, SOCK_DGRAM, IPPROTO_UDP).value()) {
    constexpr int kReceiveFlowInfo =
        11;  // IPV6_FLOWINFO of <linux/in6.h>, which <netinet/in.h> excludes
    EXPECT_TRUE(sys::set_option(fd_.get(), IPPROTO_IPV6, kReceiveFlowInfo, 1, "IPV6_FLOWINFO"));
    sockaddr_in6 name{};
    name.sin6_family = AF_INET6;
    name.sin6_addr = in6addr_loopback;
    socklen_t length = sizeof name;
    EXPECT_EQ(::bind(fd_.get(), reinterpret_cast<sockaddr*>(&name), length), 0);
    EXPECT_EQ(::getsockname(fd_.get(), reinterpret_cast<sockaddr*>(&name), &length), 0);
    address_ = {.address = loopback(IpVersion::V6), .port = ntohs(name.sin6_port)};
  }

  // Of one datagram that `from` sends; 0: it has none, or nothing came.
  uint32_t of_one_from(UdpSocket& from) {
    TransmitBatch batch;
    batch.room()[0] = 1;
    batch.commit({.local = from.local_address(), .remote = address_}, Ecn::Ect0, 1);
    SendCursor cursor;
    EXPECT_EQ(from.send_batch(batch, cursor), UdpSocket::SendState::Done);
    if (!sys::poll_one(fd_.get(), POLLIN, 2000).value_or(false)) return 0;
    uint8_t byte = 0;
    alignas(cmsghdr) std::array<uint8_t, 256> control{};
    iovec piece{.iov_base = &byte, .iov_len = 1};
    msghdr message{};
    message.msg_iov = &piece;
    message.msg_iovlen = 1;
    message.msg_control = control.data();
    message.msg_controllen = control.size();
    EXPECT_EQ(::recvmsg(fd_.get(), &message, 0), 1);
    const cmsghdr* header = CMSG_FIRSTHDR(&message);
    if (header == nullptr) return 0;
    uint32_t info = 0;
    std::memcpy(&info, CMSG_DATA(header), sizeof info);
    return ntohl(info) & 0xFFFFF;
  }

 private:
  UniqueFd fd_;
  SocketAddress address_;
};

// A client dials from a new socket with new connection IDs.
// proves: M10c
TEST(UdpFlowLabel, rfc9000_9_7_each_socket_has_its_own) {
  FlowLabels labels;
  const UdpOptions options{.bind = {.address = loopback(IpVersion::V6)}};
  auto first = UdpSocket::create(options);
  auto second = UdpSocket::create(options);
  ASSERT_TRUE(first && second);
  const uint32_t label = labels.of_one_from(*first);
  EXPECT_NE(label, 0u);
  EXPECT_EQ(labels.of_one_from(*first), label);
  const uint32_t other = labels.of_one_from(*second);
  EXPECT_NE(other, 0u);
  EXPECT_NE(other, label);
}

// One dead destination must not cost the others anything.
TEST_P(UdpLoopback, a_failing_run_is_counted_and_passed_over) {
  UdpSocket from = bound_to_any();
  UdpSocket to = bound();
  const NetworkPath good = path(from, to);
  NetworkPath bad = good;
  // An address that this host does not have cannot be a source.
  bad.local.address =
      *IpAddress::parse(GetParam() == IpVersion::V4 ? "192.0.2.55" : "2001:db8::55");
  TransmitBatch batch;
  fill(batch, good, Ecn::NotEct, {1200});
  fill(batch, bad, Ecn::NotEct, {1200, 1200, 1200});
  fill(batch, good, Ecn::NotEct, {1100, 1100});
  SendCursor cursor;
  ASSERT_EQ(from.send_batch(batch, cursor), UdpSocket::SendState::Done);
  EXPECT_EQ(cursor.run, 3u);
  EXPECT_EQ(receive(to, 3).size(), 3u);
  EXPECT_EQ(from.counters().send_unreachable, 1u);
  EXPECT_EQ(from.counters().datagrams_sent, 3u);
  EXPECT_NE(from.last_send_error(), 0);
}

// A closed port answers with ICMP: neither side's socket may notice.
TEST_P(UdpLoopback, a_closed_port_does_not_disturb_the_socket) {
  UdpSocket from = bound();
  UdpSocket to = bound();
  NetworkPath closed = path(from, to);
  {
    UdpSocket gone = bound();
    closed.remote.port = gone.local_address().port;
  }
  for (int i = 0; i < 3; ++i) {
    TransmitBatch batch;
    fill(batch, closed, Ecn::NotEct, {1200});
    fill(batch, path(from, to), Ecn::NotEct, {1200});
    SendCursor cursor;
    EXPECT_EQ(from.send_batch(batch, cursor), UdpSocket::SendState::Done);
  }
  EXPECT_EQ(receive(to, 3).size(), 3u);
  ReceiveBatch nothing;
  EXPECT_TRUE(from.receive_batch(nothing));
  EXPECT_TRUE(nothing.datagrams().empty());
}

TEST_P(UdpLoopback, without_offload_the_same_datagrams_arrive) {
  UdpSocket from =
      make({.bind = {.address = loopback(GetParam())}, .offload = UdpOptions::Offload::Off});
  UdpSocket to =
      make({.bind = {.address = loopback(GetParam())}, .offload = UdpOptions::Offload::Off});
  TransmitBatch batch;
  fill(batch, path(from, to), Ecn::Ect0, {1200, 1200, 1200, 10, 900, 1000});
  SendCursor cursor;
  ASSERT_EQ(from.send_batch(batch, cursor), UdpSocket::SendState::Done);
  const auto got = receive(to, 6);
  ASSERT_EQ(got.size(), 6u);
  size_t offset = 0;
  for (const auto& datagram : got) {
    EXPECT_EQ(datagram.bytes[0], batch.bytes(batch.runs()[0]).data()[offset]);
    offset += datagram.bytes.size();
    EXPECT_EQ(datagram.ecn, Ecn::Ect0);
  }
  EXPECT_EQ(from.counters().datagrams_sent, 6u);
}

TEST_P(UdpLoopback, empty_datagrams_are_dropped_and_counted) {
  UdpSocket from = bound();
  UdpSocket to = bound();
  for (int i = 0; i < 20; ++i) {
    // Through a plain socket: QUIC never sends empty datagrams.
    auto fd = sys::socket(GetParam() == IpVersion::V4 ? AF_INET : AF_INET6, SOCK_DGRAM, 0);
    ASSERT_TRUE(fd);
    sockaddr_storage name{};
    socklen_t length = sizeof name;
    ASSERT_EQ(::getsockname(to.fd(), reinterpret_cast<sockaddr*>(&name), &length), 0);
    ASSERT_EQ(::sendto(fd->get(), nullptr, 0, 0, reinterpret_cast<sockaddr*>(&name), length), 0);
  }
  TransmitBatch batch;
  fill(batch, path(from, to), Ecn::NotEct, {1});
  SendCursor cursor;
  from.send_batch(batch, cursor);
  EXPECT_EQ(receive(to, 1).size(), 1u);
  EXPECT_EQ(to.counters().receive_dropped, 20u);
}

TEST_P(UdpLoopback, a_port_in_use_is_an_error_that_names_it) {
  UdpSocket first = bound();
  const auto second = UdpSocket::create({.bind = first.local_address()});
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code, EADDRINUSE);
  EXPECT_TRUE(second.error().operation.contains(first.local_address().to_string()))
      << second.error().operation;
}

TEST_P(UdpLoopback, the_source_address_towards_loopback_is_loopback) {
  const auto source = source_address_for({.address = loopback(GetParam()), .port = 443});
  ASSERT_TRUE(source);
  EXPECT_EQ(*source, loopback(GetParam()));
}

INSTANTIATE_TEST_SUITE_P(Families, UdpLoopback, testing::Values(IpVersion::V4, IpVersion::V6),
                         [](const auto& test) {
                           return test.param == IpVersion::V4 ? "v4" : "v6";
                         });

}  // namespace
}  // namespace masque
