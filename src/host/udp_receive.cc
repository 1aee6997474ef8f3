// SPDX-License-Identifier: Apache-2.0
// Receiving: (1) one recvmmsg into kMessages buffers of 64 KiB, (2) control messages tell local
// address, ECN and the GRO segment size, (3) each message is cut into datagrams.
#include <netinet/udp.h>

#include <algorithm>
#include <cerrno>

#include "host/system.h"
#include "host/udp_socket_impl.h"

namespace masque {
namespace {

constexpr size_t kMessageBytes = 65536;

struct Ancillary {
  IpAddress local;
  Ecn ecn = Ecn::NotEct;
  size_t segment_size = 0;  // 0: not merged
};

template <class T>
T read_as(const cmsghdr& header) {
  T value{};
  std::memcpy(&value, CMSG_DATA(&header),
              std::min<size_t>(sizeof value, header.cmsg_len - CMSG_LEN(0)));
  return value;
}

Ancillary read_ancillary(msghdr& message, const SocketAddress& bound) {
  Ancillary found{.local = bound.address};
  for (cmsghdr* header = CMSG_FIRSTHDR(&message); header != nullptr;
       header = CMSG_NXTHDR(&message, header)) {
    const int type = header->cmsg_type;
    if (header->cmsg_level == IPPROTO_IP && type == IP_PKTINFO) {
      found.local = to_ip_address(read_as<in_pktinfo>(*header).ipi_addr);
    } else if (header->cmsg_level == IPPROTO_IPV6 && type == IPV6_PKTINFO) {
      found.local = to_ip_address(read_as<in6_pktinfo>(*header).ipi6_addr);
    } else if (header->cmsg_level == IPPROTO_IP && type == IP_TOS) {
      found.ecn = static_cast<Ecn>(read_as<uint8_t>(*header) & 3);
    } else if (header->cmsg_level == IPPROTO_IPV6 && type == IPV6_TCLASS) {
      found.ecn = static_cast<Ecn>(read_as<int>(*header) & 3);
    } else if (header->cmsg_level == IPPROTO_UDP && type == UDP_GRO) {
      found.segment_size = static_cast<size_t>(std::max(read_as<int>(*header), 0));
    }
  }
  return found;
}

}  // namespace

struct ReceiveBatch::Messages {
  std::array<mmsghdr, kMessages> headers{};
  std::array<iovec, kMessages> pieces{};
  std::array<SocketName, kMessages> names{};
  std::array<ControlBuffer, kMessages> controls{};
  std::unique_ptr<uint8_t[]> bytes = std::make_unique<uint8_t[]>(kMessages * kMessageBytes);

  // The kernel overwrites the lengths with each call.
  void reset() {
    for (size_t i = 0; i < kMessages; ++i) {
      pieces[i] = {.iov_base = bytes.get() + i * kMessageBytes, .iov_len = kMessageBytes};
      msghdr& header = headers[i].msg_hdr;
      header.msg_name = &names[i].any;
      header.msg_namelen = sizeof names[i].v6;
      header.msg_iov = &pieces[i];
      header.msg_iovlen = 1;
      header.msg_control = controls[i].bytes.data();
      header.msg_controllen = controls[i].bytes.size();
      header.msg_flags = 0;
    }
  }
};

ReceiveBatch::ReceiveBatch()
    : messages_(std::make_unique<Messages>()),
      datagrams_(std::make_unique<ReceivedDatagram[]>(kDatagramsMax)) {}
ReceiveBatch::~ReceiveBatch() = default;
ReceiveBatch::ReceiveBatch(ReceiveBatch&&) noexcept = default;
ReceiveBatch& ReceiveBatch::operator=(ReceiveBatch&&) noexcept = default;

Result<void, SysError> UdpSocket::receive_batch(ReceiveBatch& batch) {
  ReceiveBatch::Messages& messages = *batch.messages_;
  UdpCounters& counters = impl_->counters;
  batch.count_ = 0;
  batch.full_ = false;
  messages.reset();
  const int got = ::recvmmsg(impl_->fd.get(), messages.headers.data(), ReceiveBatch::kMessages,
                             MSG_DONTWAIT, nullptr);
  ++counters.receive_calls;
  if (got < 0) {
    if (errno == EAGAIN || errno == EINTR) return {};
    ++counters.receive_errors;
    // An error that a former send left behind; the socket itself is fine.
    if (errno == ECONNREFUSED || errno == EHOSTUNREACH || errno == ENETUNREACH || errno == ENOMEM)
      return {};
    return sys::failure("receive UDP datagrams");
  }
  batch.full_ = static_cast<size_t>(got) == ReceiveBatch::kMessages;
  for (size_t i = 0; i < static_cast<size_t>(got); ++i) {
    mmsghdr& message = messages.headers[i];
    // Empty datagrams mean nothing to QUIC, and a truncated one cannot be opened.
    if (message.msg_len == 0 || (message.msg_hdr.msg_flags & MSG_TRUNC) != 0) {
      ++counters.receive_dropped;
      continue;
    }
    const Ancillary ancillary = read_ancillary(message.msg_hdr, impl_->local);
    ReceivedDatagram datagram{
        .path = {.local = {.address = ancillary.local, .port = impl_->local.port},
                 .remote = to_socket_address(messages.names[i])},
        .ecn = ancillary.ecn,
    };
    MutableBytes rest(messages.bytes.get() + i * kMessageBytes, message.msg_len);
    const size_t step = ancillary.segment_size > 0 ? ancillary.segment_size : rest.size();
    counters.bytes_received += rest.size();
    while (!rest.empty()) {
      if (batch.count_ == ReceiveBatch::kDatagramsMax) {
        ++counters.receive_dropped;
        break;
      }
      datagram.bytes = rest.first(std::min(step, rest.size()));
      rest = rest.subspan(datagram.bytes.size());
      batch.datagrams_[batch.count_++] = datagram;
      ++counters.datagrams_received;
    }
  }
  return {};
}

}  // namespace masque
