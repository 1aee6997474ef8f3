// SPDX-License-Identifier: Apache-2.0
#include "core/tunnel/packet_mark.h"

#include "core/ip/checksum.h"
#include "core/ip/packet.h"

namespace masque {
namespace {

constexpr size_t kTcpHeaderSize = 20;
constexpr uint8_t kFin = 0x01;
constexpr uint8_t kSyn = 0x02;
constexpr uint8_t kReset = 0x04;

bool is_bare_acknowledgement(const IpPacketView& view, Bytes head) {
  if (view.protocol != ip_protocol::kTcp || view.fragment != Fragment::Whole) return false;
  const size_t at = view.transport_offset;
  if (head.size() < at + kTcpHeaderSize) return false;
  const size_t header = size_t{head[at + 12]} / 16 * 4;
  return view.length == at + header && (head[at + 13] & (kFin | kSyn | kReset)) == 0;
}

// The two low bits of TOS, or of the traffic class, which lies across two bytes.
void set_congestion_experienced(IpVersion version, MutableBytes head) {
  if (version == IpVersion::V6) {
    head[1] |= 0x30;
    return;
  }
  const uint16_t before = load_be16(head.data());
  head[1] |= 0x03;
  const uint16_t checksum = load_be16(&head[10]);
  store_be16(&head[10], updated_checksum(checksum, before, load_be16(head.data())));
}

}  // namespace

CongestionSignal congestion_signal(MutableBytes head, size_t length) {
  const auto view = parse_ip_packet(head, length);
  if (!view) return CongestionSignal::Drop;
  if (view->ecn != Ecn::NotEct) {
    set_congestion_experienced(view->version, head);
    return CongestionSignal::Marked;
  }
  return is_bare_acknowledgement(*view, head) ? CongestionSignal::Spare : CongestionSignal::Drop;
}

}  // namespace masque
