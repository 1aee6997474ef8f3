// SPDX-License-Identifier: Apache-2.0
#include "linkemu/frame.h"

#include "core/ip/checksum.h"

namespace masque::linkemu {

namespace {

constexpr uint16_t kTypeIpv4 = 0x0800;
constexpr uint16_t kTypeIpv6 = 0x86dd;
constexpr size_t kIpv4Header = 20;
constexpr size_t kIpv6Header = 40;
constexpr uint8_t kIcmpV6 = 58;
constexpr uint8_t kRouterSolicitation = 133;  // RFC 4861: 133 to 137
constexpr uint8_t kRedirect = 137;

bool is_control_v4(Bytes packet) {
  return packet.size() >= kIpv4Header && packet[16] == 224 && packet[17] == 0 && packet[18] == 0;
}

bool is_control_v6(Bytes packet) {
  if (packet.size() < kIpv6Header) return false;
  if (packet[24] == 0xff && packet[25] == 0x02) return true;
  if (packet[6] != kIcmpV6 || packet.size() == kIpv6Header) return false;
  return packet[kIpv6Header] >= kRouterSolicitation && packet[kIpv6Header] <= kRedirect;
}

}  // namespace

FrameKind frame_kind(Bytes frame) {
  if (frame.size() < kEthernetHeader) return FrameKind::Control;
  const Bytes packet = frame.subspan(kEthernetHeader);
  switch (load_be16(frame.data() + 12)) {
    case kTypeIpv4:
      return is_control_v4(packet) ? FrameKind::Control : FrameKind::Ip;
    case kTypeIpv6:
      return is_control_v6(packet) ? FrameKind::Control : FrameKind::Ip;
    default:
      return FrameKind::Control;
  }
}

bool complete_checksum(MutableBytes frame, const OffloadInfo& info) {
  const size_t field = size_t{info.checksum_start} + info.checksum_offset;
  if (info.checksum_start > frame.size() || field + 2 > frame.size()) return false;
  // The field holds the pseudo header's sum and is summed with the rest. Zero would mean "none"
  // to UDP; its other form is as good for everybody.
  const uint16_t checksum = internet_checksum(frame.subspan(info.checksum_start));
  store_be16(frame.data() + field, checksum == 0 ? 0xffff : checksum);
  return true;
}

}  // namespace masque::linkemu
