// SPDX-License-Identifier: Apache-2.0
#include "core/ip/packet.h"

#include <algorithm>
#include <utility>

#include "base/mutant.h"
#include "core/ip/checksum.h"

namespace masque {

namespace {

using Parsed = std::expected<IpPacketView, PacketFault>;

constexpr uint16_t kV4DontFragment = 0x4000;
constexpr uint16_t kV4MoreFragments = 0x2000;
constexpr uint16_t kV4OffsetMask = 0x1fff;

IpAddress v6_at(const uint8_t* p) {
  std::array<uint8_t, 16> bytes;
  std::memcpy(bytes.data(), p, bytes.size());
  return IpAddress::v6(bytes);
}

Fragment fragment_of(uint16_t offset, bool more) {
  if (offset != 0) return Fragment::Later;
  return more ? Fragment::First : Fragment::Whole;
}

bool v4_header_checksum_right(Bytes header) {
  uint32_t sum = 0;
  for (size_t i = 0; i < header.size(); i += 2) sum += load_be16(header.data() + i);
  sum = (sum & 0xffff) + (sum >> 16);
  return static_cast<uint16_t>(sum + (sum >> 16)) == 0xffff;
}

Parsed parse_v4(Bytes head, size_t length) {
  const uint8_t* p = head.data();
  if (head.size() < kIpv4HeaderSize) return std::unexpected(PacketFault::Truncated);
  const size_t header_length = (p[0] & 0x0fu) * 4;
  if (header_length < kIpv4HeaderSize) return std::unexpected(PacketFault::BadHeaderLength);
  const size_t total = load_be16(p + 2);
  if (total < header_length) return std::unexpected(PacketFault::LengthBelowHeader);
  if (total > length) return std::unexpected(PacketFault::LengthTooLong);
  if (total < length && !mutant("length.ipv4.remove"))
    return std::unexpected(PacketFault::LengthTooShort);
  if (header_length > head.size()) return std::unexpected(PacketFault::BadHeaderLength);
  if (!v4_header_checksum_right(head.first(header_length)) && !mutant("checksum.remove")) {
    return std::unexpected(PacketFault::BadHeaderChecksum);
  }
  const uint16_t fragment = load_be16(p + 6);
  return IpPacketView{
      .source = IpAddress::v4(load_be32(p + 12)),
      .destination = IpAddress::v4(load_be32(p + 16)),
      .version = IpVersion::V4,
      .protocol = p[9],
      .ttl = p[8],
      .dscp = static_cast<uint8_t>(p[1] >> 2),
      .ecn = static_cast<Ecn>(p[1] & 3),
      .fragment = fragment_of(fragment & kV4OffsetMask, (fragment & kV4MoreFragments) != 0),
      .dont_fragment = (fragment & kV4DontFragment) != 0,
      .header_length = static_cast<uint16_t>(header_length),
      .transport_offset = static_cast<uint16_t>(header_length),
      .length = static_cast<uint32_t>(length),
  };
}

// Bytes of one extension header that starts with {next header, length}.
size_t extension_size(uint8_t number, const uint8_t* p) {
  if (number == ip_protocol::kFragment) return 8;
  if (number == ip_protocol::kAuthentication) return (p[1] + size_t{2}) * 4;  // RFC 4302 2.2
  return (p[1] + size_t{1}) * 8;                                              // RFC 8200 4.3
}

// Walks the chain from view.protocol at view.transport_offset to the first number that is not an
// extension header (RFC 9484 4.8).
std::expected<void, PacketFault> walk_extensions(Bytes head, IpPacketView& view) {
  bool fragment_seen = false;
  size_t at = view.transport_offset;
  for (size_t count = 0; ip_protocol::is_extension(view.protocol); ++count) {
    if (count == kExtensionHeadersMax + (mutant("extensions.limit") ? 1 : 0))
      return std::unexpected(PacketFault::TooManyExtensions);
    if (at + 8 > head.size()) return std::unexpected(PacketFault::ExtensionTruncated);
    const uint8_t* p = head.data() + at;
    const uint8_t number = view.protocol;
    const size_t size = extension_size(number, p);
    if (at + size > head.size()) return std::unexpected(PacketFault::ExtensionTruncated);

    // RFC 8200 4.1: hop-by-hop options only directly after the fixed header.
    if (number == ip_protocol::kHopByHop && count != 0 && !mutant("hop_by_hop.place.remove")) {
      return std::unexpected(PacketFault::ExtensionMisplaced);
    }
    // RFC 5095: type 0 is never acted on; whatever its segments left, it is not worth carrying.
    if (number == ip_protocol::kRouting && p[2] == 0 && !mutant("routing_header_0.remove")) {
      return std::unexpected(PacketFault::RoutingHeaderType0);
    }
    view.protocol = p[0];
    at += size;
    view.transport_offset = static_cast<uint16_t>(at);
    if (number != ip_protocol::kFragment) continue;

    if (fragment_seen) return std::unexpected(PacketFault::ExtensionMisplaced);
    fragment_seen = true;
    const uint16_t field = load_be16(p + 2);
    view.fragment = fragment_of(field & 0xfff8, (field & 1) != 0);
    // What follows in a later fragment is the middle of something: the chain is not readable there.
    if (view.fragment == Fragment::Later) return {};
  }
  return {};
}

Parsed parse_v6(Bytes head, size_t length) {
  const uint8_t* p = head.data();
  if (head.size() < kIpv6HeaderSize) return std::unexpected(PacketFault::Truncated);
  // A jumbogram (payload length 0 with an option, RFC 2675) is larger than anything we carry.
  const size_t total = kIpv6HeaderSize + load_be16(p + 4);
  if (total > length || total > kPacketSizeMax) return std::unexpected(PacketFault::LengthTooLong);
  if (total < length && !mutant("length.ipv6.remove"))
    return std::unexpected(PacketFault::LengthTooShort);
  const uint8_t traffic_class = static_cast<uint8_t>(load_be16(p) >> 4);
  IpPacketView view{
      .source = v6_at(p + 8),
      .destination = v6_at(p + 24),
      .version = IpVersion::V6,
      .protocol = p[6],
      .ttl = p[7],
      .dscp = static_cast<uint8_t>(traffic_class >> 2),
      .ecn = static_cast<Ecn>(traffic_class & 3),
      .fragment = Fragment::Whole,
      .dont_fragment = true,
      .header_length = kIpv6HeaderSize,
      .transport_offset = kIpv6HeaderSize,
      .length = static_cast<uint32_t>(length),
  };
  if (ip_protocol::is_extension(view.protocol)) {
    TRY_VOID(walk_extensions(head, view));
  }
  return view;
}

}  // namespace

std::string_view to_string(PacketFault fault) {
  switch (fault) {
    case PacketFault::Empty:
      return "empty";
    case PacketFault::BadVersion:
      return "bad version";
    case PacketFault::Truncated:
      return "truncated";
    case PacketFault::BadHeaderLength:
      return "bad header length";
    case PacketFault::LengthBelowHeader:
      return "length below header";
    case PacketFault::LengthTooLong:
      return "length too long";
    case PacketFault::LengthTooShort:
      return "length too short";
    case PacketFault::BadHeaderChecksum:
      return "bad header checksum";
    case PacketFault::ExtensionTruncated:
      return "extension header truncated";
    case PacketFault::ExtensionMisplaced:
      return "extension header misplaced";
    case PacketFault::TooManyExtensions:
      return "too many extension headers";
    case PacketFault::RoutingHeaderType0:
      return "routing header type 0";
  }
  std::unreachable();
}

Parsed parse_ip_packet(Bytes head, size_t length) {
  MASQUE_ASSERT(head.size() <= length);
  if (head.empty()) return std::unexpected(PacketFault::Empty);
  switch (head[0] >> 4) {
    case 4:
      return parse_v4(head, length);
    case 6:
      return parse_v6(head, length);
    default:
      return std::unexpected(PacketFault::BadVersion);
  }
}

TtlResult decrement_ttl(MutableBytes packet) {
  MASQUE_ASSERT(packet.size() >= kIpv4HeaderSize);
  uint8_t* p = packet.data();
  uint8_t& ttl = p[0] >> 4 == 4 ? p[8] : p[7];
  if (ttl <= (mutant("ttl.limit") ? 0 : 1)) return TtlResult::Expired;
  if (p[0] >> 4 == 6) {
    --ttl;
    return TtlResult::Decremented;
  }
  const uint16_t before = load_be16(p + 8);  // TTL and protocol make one word of the checksum
  --ttl;
  store_be16(p + 10, updated_checksum(load_be16(p + 10), before, load_be16(p + 8)));
  return TtlResult::Decremented;
}

}  // namespace masque
