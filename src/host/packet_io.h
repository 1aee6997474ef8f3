// SPDX-License-Identifier: Apache-2.0
// The two mouths of a worker: what the core writes goes out in batches here, outer datagrams to the
// UDP socket (GSO) and inner packets, merged where the kernel would merge them (GRO), to the TUN.
//
// A full socket buffer keeps the transmit batch as it is: room() is then empty, the core sees
// Blocked and keeps its packets, and on_writable() goes on where it stopped.
#pragma once

#include "core/ip/coalesce.h"
#include "core/quic/transmit_target.h"
#include "core/tunnel/packet_sink.h"
#include "host/tun_device.h"
#include "host/udp_socket.h"

namespace masque {

class PacketIo final : public TransmitTarget, public PacketSink {
 public:
  explicit PacketIo(TunDevice& tun) : tun_(tun), coalescer_(tun.merge()) {}

  // One socket for each IP version, either may be null. They may change (the client dials again);
  // what was not sent is dropped.
  void set_sockets(UdpSocket* v4, UdpSocket* v6);

  TransmitBatch& batch() override { return batch_; }
  void flush() override;
  void deliver(Bytes ip_packet) override;
  // End of a turn: everything that is pending leaves, as far as the kernel takes it.
  void finish_turn();
  // The socket's buffer is full; wait for writable.
  bool blocked() const { return blocked_; }

 private:
  void write_tun();
  bool send_runs();  // false: a socket is full

  TunDevice& tun_;
  UdpSocket* v4_ = nullptr;
  UdpSocket* v6_ = nullptr;
  TransmitBatch batch_;
  SendCursor cursor_;
  bool blocked_ = false;
  PacketCoalescer coalescer_;
};

}  // namespace masque
