// SPDX-License-Identifier: Apache-2.0
// What a packet filter and a router need to know of one IP packet: parsed strictly, without
// allocation and without reading past the bytes given. A packet that passes has a right version,
// header length, total length and (IPv4) header checksum, and its protocol is the outermost one
// that is not an IPv6 extension header (RFC 9484 4.8).
#pragma once

#include <cstdint>
#include <expected>
#include <string_view>

#include "base/bytes.h"
#include "core/ip/address.h"
#include "core/ip/packet_slices.h"
#include "core/ip/socket_address.h"

namespace masque {

// Assigned Internet Protocol Numbers that this program knows by name.
namespace ip_protocol {
constexpr uint8_t kHopByHop = 0;
constexpr uint8_t kIcmp = 1;
constexpr uint8_t kTcp = 6;
constexpr uint8_t kUdp = 17;
constexpr uint8_t kRouting = 43;
constexpr uint8_t kFragment = 44;
constexpr uint8_t kEsp = 50;
constexpr uint8_t kAuthentication = 51;
constexpr uint8_t kIcmpV6 = 58;
constexpr uint8_t kNoNextHeader = 59;
constexpr uint8_t kDestinationOptions = 60;
constexpr uint8_t kMobility = 135;
constexpr uint8_t kHostIdentity = 139;
constexpr uint8_t kShim6 = 140;

// IPv6 extension headers that are stepped over. ESP is opaque and counts as a protocol (S10).
constexpr bool is_extension(uint8_t number) {
  return number == kHopByHop || number == kRouting || number == kFragment ||
         number == kAuthentication || number == kDestinationOptions || number == kMobility ||
         number == kHostIdentity || number == kShim6;
}
constexpr uint8_t icmp_of(IpVersion version) { return version == IpVersion::V4 ? kIcmp : kIcmpV6; }
}  // namespace ip_protocol

constexpr size_t kIpv4HeaderSize = 20;
constexpr size_t kIpv6HeaderSize = 40;
constexpr size_t kPacketSizeMax = 65535;
constexpr size_t kExtensionHeadersMax = 8;  // a longer chain is dropped, never guessed at
constexpr size_t kIpv6MinimumMtu = 1280;    // RFC 8200 5

// Why a packet was dropped before any policy was asked. Each is counted on its own.
enum class PacketFault : uint8_t {
  Empty,
  BadVersion,          // neither 4 nor 6
  Truncated,           // shorter than its fixed header
  BadHeaderLength,     // IPv4 IHL below 5 or past the end
  LengthBelowHeader,   // total length smaller than the header
  LengthTooLong,       // header says more bytes than there are, or than kPacketSizeMax
  LengthTooShort,      // header says fewer bytes than there are (also IPv6 jumbograms)
  BadHeaderChecksum,   // IPv4
  ExtensionTruncated,  // an extension header passes the end of what was given
  ExtensionMisplaced,  // hop-by-hop options not first, or a second fragment header
  TooManyExtensions,   // more than kExtensionHeadersMax
  RoutingHeaderType0,  // deprecated by RFC 5095
};
constexpr size_t kPacketFaultCount = 12;
std::string_view to_string(PacketFault fault);

enum class Fragment : uint8_t {
  Whole,  // not a fragment (IPv6 atomic fragments, RFC 6946, count as whole)
  First,  // offset 0 with more to come: the transport header is here
  Later,  // offset > 0: no transport header, ports unknown
};

struct IpPacketView {
  IpAddress source;
  IpAddress destination;
  IpVersion version = IpVersion::V4;
  // Outermost non-extension protocol. Of a later IPv6 fragment it is what the fragment header
  // names, which may be an extension header: a filter by protocol then does not match it.
  uint8_t protocol = 0;
  uint8_t ttl = 0;  // TTL or Hop Limit
  uint8_t dscp = 0;
  Ecn ecn = Ecn::NotEct;
  Fragment fragment = Fragment::Whole;
  bool dont_fragment = false;     // IPv6: always true, routers never fragment
  uint16_t header_length = 0;     // IPv4 header with options; IPv6 fixed header, 40
  uint16_t transport_offset = 0;  // where `protocol` begins, after options and extension headers
  uint32_t length = 0;            // of the whole packet
};

// `head` holds the first bytes of a packet of `length` bytes: all headers at least.
std::expected<IpPacketView, PacketFault> parse_ip_packet(Bytes head, size_t length);
inline std::expected<IpPacketView, PacketFault> parse_ip_packet(Bytes packet) {
  return parse_ip_packet(packet, packet.size());
}
inline std::expected<IpPacketView, PacketFault> parse_ip_packet(const PacketSlices& packet) {
  return parse_ip_packet(packet.head, packet.size());
}

// For packets that passed parse_ip_packet(). RFC 9484 7.2: once, just before encapsulation of a
// forwarded packet; the IPv4 checksum follows incrementally. Expired (0 or 1) packets stay
// unchanged.
enum class TtlResult : uint8_t { Decremented, Expired };
TtlResult decrement_ttl(MutableBytes packet);

}  // namespace masque
