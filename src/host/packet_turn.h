// SPDX-License-Identifier: Apache-2.0
// What a turn of either worker does with its sockets and its TUN; what comes in goes to a function
// of the worker, without a copy.
#pragma once

#include "core/ip/segment.h"
#include "host/event_loop.h"
#include "host/tun_device.h"
#include "host/udp_socket.h"

namespace masque {

// At most a few batches: then the TUN has its turn.
template <class Sink>
void receive_datagrams(UdpSocket& socket, ReceiveBatch& batch, Sink&& sink) {
  constexpr int kBatchesPerTurn = 4;
  for (int i = 0; i < kBatchesPerTurn; ++i) {
    if (!socket.receive_batch(batch)) return;
    for (const ReceivedDatagram& datagram : batch.datagrams()) sink(datagram);
    if (!batch.full()) return;
  }
}

// One read, its super-packets cut into packets. The error: the interface is gone.
template <class Sink>
Result<void, SysError> read_packets(TunDevice& tun, TunReadBatch& batch, Sink&& sink) {
  TRY_VOID(tun.read_batch(batch));
  for (const TunPacket& packet : batch.packets()) {
    auto splitter = SuperPacketSplitter::make(packet.offload, packet.bytes);
    if (!splitter) continue;
    PacketSlices slices;
    while (splitter->next(slices)) sink(slices);
  }
  return {};
}

// A full socket: nothing is read that could not be sent.
inline EventLoop::Interest udp_interest(bool blocked) {
  return blocked ? EventLoop::kReadWrite : EventLoop::kReadable;
}
inline EventLoop::Interest tun_interest(bool wants_more, bool blocked) {
  return wants_more && !blocked ? EventLoop::kReadable : EventLoop::kNone;
}

}  // namespace masque
