// SPDX-License-Identifier: Apache-2.0
// ICMP and ICMPv6: errors about packets that could not be forwarded (RFC 792, RFC 1812 4.3, RFC
// 4443), and echo, with which an endpoint proves that the tunnel carries 1280 bytes (RFC 9484 7.2).
// Everything is written into the caller's buffer. Rate limiting: icmp_limiter.h.
#pragma once

#include <cstdint>
#include <optional>

#include "base/bytes.h"
#include "core/ip/packet.h"

namespace masque {

enum class IcmpErrorKind : uint8_t {
  NoRoute,       // v6 1/0, v4 3/0
  Prohibited,    // v6 1/1, v4 3/13: policy forbids the destination
  BadSource,     // v6 1/5, v4 3/13: the source is not assigned to the sender
  TooBig,        // v6 2/0, v4 3/4, with the MTU
  TimeExceeded,  // v6 3/0, v4 11/0
};

struct IcmpError {
  IcmpErrorKind kind = IcmpErrorKind::NoRoute;
  uint32_t mtu = 0;  // TooBig only: the largest packet that fits now
  // IPv4: bytes quoted after the IP header; at least 8. The default fills 576 bytes (RFC
  // 1812 4.3.2.3).
  size_t ipv4_quote_max = 520;
};

constexpr size_t kIcmpErrorSizeMax = kIpv6MinimumMtu;  // RFC 4443 2.4 (c)

// Writes the error about `offending` (parsed as `view`) from `from` to the packet's source and
// returns its size. nullopt when no error may be sent about this packet (RFC 4443 2.4 (e), RFC
// 1122 3.2.2) or when `from` is of the other family. `out` has kIcmpErrorSizeMax bytes.
std::optional<size_t> build_icmp_error(const IcmpError& error, const IpAddress& from,
                                       const IpPacketView& view, const PacketSlices& offending,
                                       MutableBytes out);
// Whether an error about the packet may be sent at all.
bool may_answer_with_icmp_error(IcmpErrorKind kind, const IpPacketView& view, Bytes head);

struct IcmpEcho {
  enum class Kind : uint8_t { Request, Reply };
  Kind kind = Kind::Request;
  IpAddress source;
  IpAddress destination;
  uint16_t identifier = 0;
  uint16_t sequence = 0;
  Bytes data;
};

constexpr size_t kIcmpEchoHeaderSize = 8;
// RFC 9484 7.2: 1232 bytes of data make a packet of 1280.
constexpr size_t kMtuProbeDataSize = kIpv6MinimumMtu - kIpv6HeaderSize - kIcmpEchoHeaderSize;

// The packet's size; 0 when `out` is too small. Both addresses are of one family.
size_t build_icmp_echo(const IcmpEcho& echo, MutableBytes out);
// An echo request or reply with a right checksum that is not a fragment; `data` points into
// `packet`.
std::optional<IcmpEcho> parse_icmp_echo(const IpPacketView& view, Bytes packet);

// The packet that an ICMP error quotes: its addresses, as far as they can be read (E6). `protocol`
// is the outermost one that is no IPv6 extension header, unless the quote is cut before it.
struct QuotedPacket {
  IpAddress source;
  IpAddress destination;
  uint8_t protocol = 0;
};
// nullopt: not an ICMP error, or its quote is cut before the addresses.
std::optional<QuotedPacket> parse_icmp_error_quote(const IpPacketView& view, Bytes packet);

}  // namespace masque
