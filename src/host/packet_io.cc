// SPDX-License-Identifier: Apache-2.0
#include "host/packet_io.h"

#include "core/ip/packet.h"

namespace masque {

void PacketIo::set_sockets(UdpSocket* v4, UdpSocket* v6) {
  v4_ = v4;
  v6_ = v6;
  batch_.clear();
  cursor_ = {};
  blocked_ = false;
}

void PacketIo::flush() {
  if (batch_.empty()) return;
  blocked_ = !send_runs();
  if (blocked_) return;
  batch_.clear();
  cursor_ = {};
}

bool PacketIo::send_runs() {
  const std::span<const TransmitRun> runs = batch_.runs();
  while (cursor_.run < runs.size()) {
    UdpSocket* socket =
        runs[cursor_.run].path.remote.address.version() == IpVersion::V4 ? v4_ : v6_;
    if (socket == nullptr) {
      cursor_ = {.run = cursor_.run + 1, .offset = 0};
      continue;
    }
    if (socket->send_batch(batch_, cursor_) == UdpSocket::SendState::Blocked) return false;
  }
  return true;
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
