// SPDX-License-Identifier: Apache-2.0
#include "host/packet_io.h"

#include "core/ip/packet.h"

namespace masque {

void PacketIo::set_socket(UdpSocket* socket) {
  socket_ = socket;
  batch_.clear();
  cursor_ = {};
  blocked_ = false;
}

void PacketIo::flush() {
  if (batch_.empty()) return;
  if (socket_ != nullptr && socket_->send_batch(batch_, cursor_) == UdpSocket::SendState::Blocked) {
    blocked_ = true;
    return;
  }
  blocked_ = false;
  batch_.clear();
  cursor_ = {};
}

void PacketIo::deliver(Bytes ip_packet) {
  // The core has checked it; the view tells the coalescer which flow it belongs to.
  const auto view = parse_ip_packet(ip_packet);
  if (!view) return;
  if (coalescer_.add(*view, ip_packet)) return;
  write_tun();
  coalescer_.add(*view, ip_packet);
}

void PacketIo::write_tun() {
  if (coalescer_.empty()) return;
  // Only a lost device is an error here, and its descriptor tells the loop so.
  (void)tun_.write_batch(coalescer_.flush());
}

void PacketIo::finish_turn() {
  write_tun();
  flush();
}

}  // namespace masque
