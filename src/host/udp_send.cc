// SPDX-License-Identifier: Apache-2.0
// Sending: one sendmmsg for the whole batch, one message for each run, cut by the kernel
// (UDP_SEGMENT). A run that fails is counted and passed over: to QUIC it is a lost packet, never
// the end of a connection. A kernel or device that refuses UDP_SEGMENT gets the run's datagrams one
// by one.
#include <netinet/udp.h>

#include <algorithm>
#include <cerrno>

#include "host/udp_socket_impl.h"

namespace masque {
namespace {

template <class T>
void append(msghdr& message, int level, int type, const T& value) {
  auto* header = reinterpret_cast<cmsghdr*>(static_cast<uint8_t*>(message.msg_control) +
                                            message.msg_controllen);
  header->cmsg_level = level;
  header->cmsg_type = type;
  header->cmsg_len = CMSG_LEN(sizeof value);
  std::memcpy(CMSG_DATA(header), &value, sizeof value);
  message.msg_controllen += CMSG_SPACE(sizeof value);
}

void append_source(msghdr& message, const IpAddress& source) {
  if (source.version() == IpVersion::V4) {
    in_pktinfo info{};
    std::memcpy(&info.ipi_spec_dst, source.bytes().data(), 4);
    append(message, IPPROTO_IP, IP_PKTINFO, info);
  } else {
    in6_pktinfo info{};
    std::memcpy(&info.ipi6_addr, source.bytes().data(), 16);
    append(message, IPPROTO_IPV6, IPV6_PKTINFO, info);
  }
}

size_t segments_in(Bytes bytes, uint16_t segment_size) {
  return segment_size == 0 ? 1 : (bytes.size() + segment_size - 1) / segment_size;
}

void advance(SendCursor& cursor) { cursor = {.run = cursor.run + 1, .offset = 0}; }

}  // namespace

void UdpSocket::Impl::prepare(size_t slot, const Piece& piece) {
  const TransmitRun& run = *piece.run;
  names[slot] = to_socket_name(run.path.remote);
  pieces[slot] = {.iov_base = unconst(piece.bytes.data()), .iov_len = piece.bytes.size()};
  msghdr& message = messages[slot].msg_hdr;
  message = {};
  message.msg_name = &names[slot].any;
  message.msg_namelen = names[slot].length;
  message.msg_iov = &pieces[slot];
  message.msg_iovlen = 1;
  message.msg_control = controls[slot].bytes.data();
  const bool v4 = run.path.remote.address.version() == IpVersion::V4;
  const IpAddress& source = run.path.local.address;
  if (!source.is_any() && source.version() == run.path.remote.address.version())
    append_source(message, source);
  if (run.ecn != Ecn::NotEct) {
    const int ecn = static_cast<int>(run.ecn);
    append(message, v4 ? IPPROTO_IP : IPPROTO_IPV6, v4 ? IP_TOS : IPV6_TCLASS, ecn);
  }
  if (segments_in(piece.bytes, run.segment_size) > 1)
    append(message, IPPROTO_UDP, UDP_SEGMENT, run.segment_size);
  if (message.msg_controllen == 0) message.msg_control = nullptr;
}

// Messages for the runs from the cursor on. Without GSO only those of a single datagram, up to the
// first that has to be cut.
size_t UdpSocket::Impl::prepare_all(const TransmitBatch& batch, SendCursor cursor) {
  size_t count = 0;
  const IpVersion family = local.address.version();
  for (const TransmitRun& run : batch.runs().subspan(cursor.run)) {
    if (run.path.remote.address.version() != family) break;
    const Bytes bytes = batch.bytes(run).subspan(count == 0 ? cursor.offset : 0);
    if (!gso && segments_in(bytes, run.segment_size) > 1) break;
    prepare(count++, {.run = &run, .bytes = bytes});
  }
  return count;
}

void UdpSocket::Impl::count_sent(const Piece& piece) {
  counters.datagrams_sent += segments_in(piece.bytes, piece.run->segment_size);
  counters.bytes_sent += piece.bytes.size();
}

void UdpSocket::Impl::count_failed(int code) {
  last_send_error = code;
  switch (code) {
    case EMSGSIZE:
      ++counters.send_too_large;
      break;
    case ENETUNREACH:
    case EHOSTUNREACH:
    case EADDRNOTAVAIL:
    case ENETDOWN:
    case ENODEV:
    case EINVAL:
      ++counters.send_unreachable;
      break;
    case EPERM:
    case EACCES:
      ++counters.send_refused;
      break;
    default:
      ++counters.send_errors;
      break;
  }
}

UdpSocket::SendState UdpSocket::send_batch(const TransmitBatch& batch, SendCursor& cursor) {
  const std::span<const TransmitRun> runs = batch.runs();
  while (cursor.run < runs.size()) {
    if (runs[cursor.run].path.remote.address.version() != impl_->local.address.version())
      return SendState::OtherFamily;
    const size_t count = impl_->prepare_all(batch, cursor);
    if (count == 0) {  // no GSO, and a run that has to be cut
      if (!impl_->send_singles(batch, cursor)) return SendState::Blocked;
      continue;
    }
    const int sent = ::sendmmsg(impl_->fd.get(), impl_->messages.data(),
                                static_cast<unsigned>(count), MSG_DONTWAIT);
    ++impl_->counters.send_calls;
    if (sent < 0) {
      if (errno == EINTR) continue;
      if (!impl_->on_send_failure(errno, batch, cursor)) return SendState::Blocked;
      continue;
    }
    for (int i = 0; i < sent; ++i) {
      const TransmitRun& run = runs[cursor.run];
      impl_->count_sent({.run = &run, .bytes = batch.bytes(run).subspan(cursor.offset)});
      advance(cursor);
    }
  }
  return SendState::Done;
}

bool UdpSocket::Impl::on_send_failure(int code, const TransmitBatch& batch, SendCursor& cursor) {
  if (code == EAGAIN) {
    ++counters.send_blocked;
    return false;
  }
  const TransmitRun& run = batch.runs()[cursor.run];
  const bool cut = segments_in(batch.bytes(run).subspan(cursor.offset), run.segment_size) > 1;
  // EIO: the device has no checksum offload, so the kernel will not segment: never ask again.
  // EINVAL: an unfit segment size, or a source address that is gone; one by one will tell.
  if (cut && (code == EIO || code == EINVAL || code == EMSGSIZE)) {
    ++counters.gso_refused;
    if (code == EIO) gso = false;
    return send_singles(batch, cursor);
  }
  count_failed(code);
  advance(cursor);
  return true;
}

// The rest of the run at the cursor, datagram by datagram. What is too large (a path MTU probe)
// says nothing about a shorter datagram after it; every other failure ends the run.
bool UdpSocket::Impl::send_singles(const TransmitBatch& batch, SendCursor& cursor) {
  const TransmitRun& run = batch.runs()[cursor.run];
  while (cursor.offset < run.length) {
    const Bytes rest = batch.bytes(run).subspan(cursor.offset);
    const Piece piece{.run = &run,
                      .bytes = rest.first(std::min<size_t>(run.segment_size, rest.size()))};
    prepare(0, piece);
    const ssize_t sent = ::sendmsg(fd.get(), &messages[0].msg_hdr, MSG_DONTWAIT);
    ++counters.send_calls;
    if (sent < 0) {
      if (errno == EINTR) continue;
      if (errno == EAGAIN) {
        ++counters.send_blocked;
        return false;
      }
      count_failed(errno);
      if (errno != EMSGSIZE) break;
    } else {
      count_sent(piece);
    }
    cursor.offset += static_cast<uint32_t>(piece.bytes.size());
  }
  advance(cursor);
  return true;
}

}  // namespace masque
