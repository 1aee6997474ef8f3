// SPDX-License-Identifier: Apache-2.0
// The inside of UdpSocket, shared by its three sources and by nothing else.
#pragma once

#include <sys/socket.h>
#include <sys/uio.h>

#include <array>

#include "host/socket_name.h"
#include "host/udp_socket.h"

namespace masque {

// Room for IP(V6)_PKTINFO, TOS or TCLASS and UDP_GRO or UDP_SEGMENT of one message.
constexpr size_t kControlBytes = CMSG_SPACE(sizeof(in6_pktinfo)) + 2 * CMSG_SPACE(sizeof(int)) + 16;
static_assert(kControlBytes >= CMSG_SPACE(sizeof(in_pktinfo)) + 2 * CMSG_SPACE(sizeof(int)));

struct alignas(alignof(cmsghdr)) ControlBuffer {
  std::array<uint8_t, (kControlBytes + alignof(cmsghdr) - 1) / alignof(cmsghdr) * alignof(cmsghdr)>
      bytes{};
};

struct UdpSocket::Impl {
  UniqueFd fd;
  SocketAddress local;
  UdpCounters counters;
  int last_send_error = 0;
  bool gso = false;

  // One message of sendmmsg for each run of a batch.
  std::array<mmsghdr, TransmitBatch::kRunsMax> messages{};
  std::array<iovec, TransmitBatch::kRunsMax> pieces{};
  std::array<SocketName, TransmitBatch::kRunsMax> names{};
  std::array<ControlBuffer, TransmitBatch::kRunsMax> controls{};

  // What one kernel message takes from the batch, from `cursor` on.
  struct Piece {
    const TransmitRun* run = nullptr;
    Bytes bytes;
  };
  void prepare(size_t slot, const Piece& piece);
  size_t prepare_all(const TransmitBatch& batch, SendCursor cursor);
  void count_sent(const Piece& piece);
  void count_failed(int code);
  // Handles the failure of the run at the cursor; false when the socket is full.
  bool on_send_failure(int code, const TransmitBatch& batch, SendCursor& cursor);
  bool send_singles(const TransmitBatch& batch, SendCursor& cursor);
};

}  // namespace masque
