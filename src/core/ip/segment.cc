// SPDX-License-Identifier: Apache-2.0
#include "core/ip/segment.h"

#include <algorithm>
#include <utility>

#include "core/ip/checksum.h"
#include "core/ip/transport.h"

namespace masque {

namespace {

using Made = std::expected<SuperPacketSplitter, SegmentFault>;

// A folded sum of zero is sent as all ones: in UDP zero means "none" (RFC 768), elsewhere both are
// equal.
uint16_t never_zero(uint16_t checksum) { return checksum == 0 ? 0xffff : checksum; }

// NEEDS_CSUM: the field already holds the pseudo-header sum, so the sum of all bytes is what is
// missing.
bool complete_checksum(const OffloadInfo& info, MutableBytes packet) {
  const size_t start = info.checksum_start;
  const size_t field = start + info.checksum_offset;
  if (start < kIpv4HeaderSize || field + 2 > packet.size()) return false;
  store_be16(packet.data() + field, never_zero(internet_checksum(packet.subspan(start))));
  return true;
}

bool kind_matches(GsoType gso, const IpPacketView& view) {
  switch (gso) {
    case GsoType::TcpV4:
      return view.version == IpVersion::V4 && view.protocol == ip_protocol::kTcp;
    case GsoType::TcpV6:
      return view.version == IpVersion::V6 && view.protocol == ip_protocol::kTcp;
    case GsoType::Udp:
      return view.protocol == ip_protocol::kUdp;
    case GsoType::None:
      break;
  }
  return false;
}

// The TCP or UDP header's size; nullopt when it does not fit or contradicts the packet.
std::optional<size_t> transport_header_size(const IpPacketView& view, Bytes packet) {
  const Bytes transport = packet.subspan(view.transport_offset);
  if (view.protocol == ip_protocol::kUdp) {
    if (transport.size() < udp::kHeaderSize) return std::nullopt;
    if (load_be16(transport.data() + udp::kLength) != transport.size()) return std::nullopt;
    return udp::kHeaderSize;
  }
  return tcp::header_size(transport);
}

}  // namespace

std::string_view to_string(SegmentFault fault) {
  switch (fault) {
    case SegmentFault::BadPacket:
      return "bad packet";
    case SegmentFault::BadChecksumRange:
      return "bad checksum range";
    case SegmentFault::BadSegmentSize:
      return "bad segment size";
    case SegmentFault::HeadersTooLong:
      return "headers too long";
    case SegmentFault::Fragmented:
      return "fragmented";
  }
  std::unreachable();
}

Made SuperPacketSplitter::make(const OffloadInfo& info, MutableBytes packet) {
  if (packet.empty() || packet.size() > kPacketSizeMax)
    return std::unexpected(SegmentFault::BadPacket);
  if (info.gso != GsoType::None) return make_segmented(info, packet);
  if (info.checksum == ChecksumState::Partial && !complete_checksum(info, packet)) {
    return std::unexpected(SegmentFault::BadChecksumRange);
  }
  return SuperPacketSplitter(packet, 1);
}

Made SuperPacketSplitter::make_segmented(const OffloadInfo& info, MutableBytes packet) {
  const auto view = parse_ip_packet(packet);
  if (!view || !kind_matches(info.gso, *view)) return std::unexpected(SegmentFault::BadPacket);
  if (view->fragment != Fragment::Whole) return std::unexpected(SegmentFault::Fragmented);
  const std::optional<size_t> transport_size = transport_header_size(*view, packet);
  if (!transport_size) return std::unexpected(SegmentFault::BadPacket);

  const bool is_udp = view->protocol == ip_protocol::kUdp;
  if (info.checksum == ChecksumState::Partial &&
      (info.checksum_start != view->transport_offset ||
       info.checksum_offset != (is_udp ? udp::kChecksum : tcp::kChecksum))) {
    return std::unexpected(SegmentFault::BadChecksumRange);
  }
  const size_t head_size = view->transport_offset + *transport_size;
  if (head_size > kSegmentHeadMax) return std::unexpected(SegmentFault::HeadersTooLong);

  if (info.gso_size == 0) return std::unexpected(SegmentFault::BadSegmentSize);
  const size_t payload = packet.size() - head_size;
  const size_t count = std::max<size_t>(1, (payload + info.gso_size - 1) / info.gso_size);
  if (count > kSegmentsMax) return std::unexpected(SegmentFault::BadSegmentSize);

  SuperPacketSplitter splitter(packet, count);
  splitter.prepare(*view, head_size, info.gso_size);
  return splitter;
}

void SuperPacketSplitter::prepare(const IpPacketView& view, size_t head_size, uint16_t gso_size) {
  head_size_ = head_size;
  gso_size_ = gso_size;
  transport_offset_ = view.transport_offset;
  version_ = view.version;
  protocol_ = view.protocol;
  std::copy_n(packet_.begin(), head_size, head_.begin());

  InternetSum addresses;
  addresses.add_pseudo_header(view.source, view.destination, view.protocol, 0);
  address_sum_ = addresses.folded();
  uint8_t* transport = head_.data() + transport_offset_;
  if (protocol_ == ip_protocol::kTcp) {
    first_sequence_ = load_be32(transport + tcp::kSequence);
    flags_ = transport[tcp::kFlags];
    store_be16(transport + tcp::kChecksum, 0);
  } else {
    store_be16(transport + udp::kChecksum, 0);
  }
  if (version_ == IpVersion::V4) {
    first_id_ = load_be16(head_.data() + 4);
    store_be16(head_.data() + 2, 0);
    store_be16(head_.data() + 4, 0);
    store_be16(head_.data() + 10, 0);
    InternetSum header;
    header.add(Bytes(head_).first(view.header_length));
    ip_header_sum_ = header.folded();
  }
}

size_t SuperPacketSplitter::packet_size_max() const {
  return std::min(packet_.size(), head_size_ == 0 ? packet_.size() : head_size_ + gso_size_);
}

bool SuperPacketSplitter::next(PacketSlices& out) {
  if (index_ == count_) return false;
  if (head_size_ == 0) {
    out = {.head = packet_, .body = {}};
    ++index_;
    return true;
  }
  const Bytes rest = packet_.subspan(head_size_ + offset_);
  const Bytes body = rest.first(std::min(gso_size_, rest.size()));
  const bool last = index_ + 1 == count_;
  write_ip_header(head_size_ + body.size());
  if (protocol_ == ip_protocol::kTcp) {
    write_tcp_header(body, last);
  } else {
    write_udp_header(body);
  }
  offset_ += body.size();
  ++index_;
  out = {.head = Bytes(head_).first(head_size_), .body = body};
  return true;
}

void SuperPacketSplitter::write_ip_header(size_t segment_size) {
  uint8_t* p = head_.data();
  if (version_ == IpVersion::V6) {
    store_be16(p + 4, static_cast<uint16_t>(segment_size - kIpv6HeaderSize));
    return;
  }
  const auto id = static_cast<uint16_t>(first_id_ + index_);
  store_be16(p + 2, static_cast<uint16_t>(segment_size));
  store_be16(p + 4, id);
  InternetSum sum;
  sum.add_u16(ip_header_sum_);
  sum.add_u16(static_cast<uint16_t>(segment_size));
  sum.add_u16(id);
  store_be16(p + 10, sum.checksum());
}

void SuperPacketSplitter::write_tcp_header(Bytes body, bool last) {
  uint8_t* p = head_.data() + transport_offset_;
  store_be32(p + tcp::kSequence, first_sequence_ + static_cast<uint32_t>(offset_));
  // FIN and PSH belong to the last byte, CWR to the first (RFC 3168 6.1.2).
  uint8_t flags = flags_;
  if (!last) flags &= static_cast<uint8_t>(~(tcp::kFin | tcp::kPsh));
  if (index_ != 0) flags &= static_cast<uint8_t>(~tcp::kCwr);
  p[tcp::kFlags] = flags;
  store_be16(p + tcp::kChecksum, 0);
  store_be16(p + tcp::kChecksum, transport_checksum(body));
}

void SuperPacketSplitter::write_udp_header(Bytes body) {
  uint8_t* p = head_.data() + transport_offset_;
  store_be16(p + udp::kLength, static_cast<uint16_t>(head_size_ - transport_offset_ + body.size()));
  store_be16(p + udp::kChecksum, 0);
  store_be16(p + udp::kChecksum, never_zero(transport_checksum(body)));
}

uint16_t SuperPacketSplitter::transport_checksum(Bytes body) const {
  const Bytes header = Bytes(head_).first(head_size_).subspan(transport_offset_);
  InternetSum sum;
  sum.add_u16(address_sum_);
  sum.add_u16(static_cast<uint16_t>(header.size() + body.size()));
  sum.add(header);
  sum.add(body);
  return sum.checksum();
}

}  // namespace masque
