// SPDX-License-Identifier: Apache-2.0
// Packets above the limit that a router cuts instead of refusing them (RFC 791 3.2, RFC 1812
// 4.2.2.7): IPv4 without Don't Fragment. RFC 9484 10.1 has packets dropped that do not fit a
// DATAGRAM frame; these do, in pieces. Nothing here allocates; the pieces are made on the stack.
#include <array>
#include <cstring>

#include "core/ip/fragment.h"
#include "core/tunnel/connect_ip_session.h"

namespace masque {

bool ConnectIpSession::must_cut(const PacketSlices& packet, const IpPacketView& view) const {
  return Ipv4Fragmenter::can_cut(packet, view, mtu_.limit());
}

SendVerdict ConnectIpSession::send_fragments(Instant now, const PacketSlices& packet,
                                             TrafficClass traffic_class, const Outbound& outbound) {
  ++counters_.packets_fragmented;
  Ipv4Fragmenter fragments(packet, outbound.view, mtu_.limit());
  SendVerdict verdict = SendVerdict::Sent;
  std::array<uint8_t, kPacketSizeMax> room;
  while (const size_t size = fragments.next(room)) {
    const auto one =
        offer(now, {.head = Bytes(room).first(size), .body = {}}, traffic_class, outbound);
    if (!one) counters_.drop(DropReason::TooBig);  // narrower within the packet: the next fits
    // The others are of no use without it.
    if (one.value_or(SendVerdict::Dropped) == SendVerdict::Dropped) return SendVerdict::Dropped;
    if (*one == SendVerdict::Queued) verdict = *one;
  }
  return verdict;
}

// The packet at the queue's front, which the channel has just refused, and takes it out.
void ConnectIpSession::on_queued_too_big(Instant now, const EgressQueue::Waiting& waiting,
                                         DatagramChannel& channel, WayBack& back) {
  // Its fragments may have to wait again, in the place where it lies.
  std::array<uint8_t, kPacketSizeMax> copy;
  const Bytes bytes = Bytes(copy).first(waiting.packet.size());
  std::memcpy(copy.data(), waiting.packet.data(), bytes.size());
  const TrafficClass traffic_class = waiting.traffic_class;
  queue_.pop();

  update_mtu(now, channel);
  const PacketSlices packet{.head = bytes, .body = {}};
  const auto view = parse_ip_packet(packet);
  if (!view) return counters_.drop(DropReason::TooBig);
  const WayBack::Way way = back.to(view->source);
  const Outbound outbound{packet, *view, way.forwarding, channel, way.sink};
  if (must_cut(packet, *view)) {
    send_fragments(now, packet, traffic_class, outbound);
  } else {
    drop_too_big(now, outbound);
  }
}

}  // namespace masque
