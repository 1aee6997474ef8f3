// SPDX-License-Identifier: Apache-2.0
#include "core/ip/icmp.h"

#include <algorithm>
#include <utility>

#include "core/ip/checksum.h"

namespace masque {

namespace {

constexpr uint8_t kOwnTtl = 64;
constexpr size_t kIcmpHeaderSize = 8;
constexpr size_t kIpv4QuoteMin = 8;  // RFC 792: the header and 64 bits

namespace v4_type {
constexpr uint8_t kEchoReply = 0;
constexpr uint8_t kUnreachable = 3;
constexpr uint8_t kSourceQuench = 4;
constexpr uint8_t kRedirect = 5;
constexpr uint8_t kEcho = 8;
constexpr uint8_t kTimeExceeded = 11;
constexpr uint8_t kParameterProblem = 12;
}  // namespace v4_type

namespace v6_type {
constexpr uint8_t kUnreachable = 1;
constexpr uint8_t kTooBig = 2;
constexpr uint8_t kTimeExceeded = 3;
constexpr uint8_t kFirstInformational = 128;  // RFC 4443 2.1: below it are errors
constexpr uint8_t kEcho = 128;
constexpr uint8_t kEchoReply = 129;
constexpr uint8_t kRedirect = 137;
}  // namespace v6_type

struct TypeAndCode {
  uint8_t type;
  uint8_t code;
};

TypeAndCode type_and_code(IcmpErrorKind kind, IpVersion version) {
  const bool v4 = version == IpVersion::V4;
  switch (kind) {
    case IcmpErrorKind::NoRoute:
      return v4 ? TypeAndCode{v4_type::kUnreachable, 0} : TypeAndCode{v6_type::kUnreachable, 0};
    case IcmpErrorKind::Prohibited:
      return v4 ? TypeAndCode{v4_type::kUnreachable, 13} : TypeAndCode{v6_type::kUnreachable, 1};
    case IcmpErrorKind::BadSource:
      return v4 ? TypeAndCode{v4_type::kUnreachable, 13} : TypeAndCode{v6_type::kUnreachable, 5};
    case IcmpErrorKind::TooBig:
      return v4 ? TypeAndCode{v4_type::kUnreachable, 4} : TypeAndCode{v6_type::kTooBig, 0};
    case IcmpErrorKind::TimeExceeded:
      return v4 ? TypeAndCode{v4_type::kTimeExceeded, 0} : TypeAndCode{v6_type::kTimeExceeded, 0};
  }
  std::unreachable();
}

bool is_v4_error(uint8_t type) {
  return type == v4_type::kUnreachable || type == v4_type::kSourceQuench ||
         type == v4_type::kRedirect || type == v4_type::kTimeExceeded ||
         type == v4_type::kParameterProblem;
}

// RFC 1122 3.2.2: the source must name a single host.
bool names_one_host(const IpAddress& source) {
  if (source.is_any() || source.is_multicast() || source.is_loopback()) return false;
  if (source.version() == IpVersion::V6) return true;
  const uint8_t first = source.bytes()[0];
  return first != 0 && first < 240;  // "this network"; class E and broadcast
}

void write_ip_header(const IpAddress& source, const IpAddress& destination, size_t size,
                     uint8_t* p) {
  if (source.version() == IpVersion::V4) {
    std::fill_n(p, kIpv4HeaderSize, uint8_t{0});
    p[0] = 0x45;
    store_be16(p + 2, static_cast<uint16_t>(size));
    p[8] = kOwnTtl;
    p[9] = ip_protocol::kIcmp;
    std::ranges::copy(source.bytes(), p + 12);
    std::ranges::copy(destination.bytes(), p + 16);
    store_be16(p + 10, internet_checksum(Bytes(p, kIpv4HeaderSize)));
    return;
  }
  store_be32(p, 0x60000000);
  store_be16(p + 4, static_cast<uint16_t>(size - kIpv6HeaderSize));
  p[6] = ip_protocol::kIcmpV6;
  p[7] = kOwnTtl;
  std::ranges::copy(source.bytes(), p + 8);
  std::ranges::copy(destination.bytes(), p + 24);
}

uint16_t icmp_checksum(const IpAddress& source, const IpAddress& destination, Bytes message) {
  InternetSum sum;
  if (source.version() == IpVersion::V6) {  // RFC 4443 2.3; ICMPv4 has no pseudo header
    sum.add_pseudo_header(source, destination, ip_protocol::kIcmpV6,
                          static_cast<uint32_t>(message.size()));
  }
  sum.add(message);
  return sum.checksum();
}

size_t header_size(IpVersion version) {
  return version == IpVersion::V4 ? kIpv4HeaderSize : kIpv6HeaderSize;
}

// How much of the offending packet is quoted (E4).
size_t quote_size(const IcmpError& error, const IpPacketView& view) {
  if (view.version == IpVersion::V6) {
    return std::min<size_t>(view.length, kIcmpErrorSizeMax - kIpv6HeaderSize - kIcmpHeaderSize);
  }
  const size_t payload_max = std::max(error.ipv4_quote_max, kIpv4QuoteMin);
  return std::min({size_t{view.length}, view.header_length + payload_max,
                   kIcmpErrorSizeMax - kIpv4HeaderSize - kIcmpHeaderSize});
}

}  // namespace

bool may_answer_with_icmp_error(IcmpErrorKind kind, const IpPacketView& view, Bytes head) {
  if (!names_one_host(view.source)) return false;
  // RFC 4443 2.4 (e.3): only Packet Too Big may answer a multicast, for path MTU discovery.
  const bool to_many = view.destination.is_multicast() || view.destination.is_broadcast();
  if (to_many && !(kind == IcmpErrorKind::TooBig && view.version == IpVersion::V6)) return false;
  // RFC 1122 3.2.2: not about a fragment other than the first.
  if (view.version == IpVersion::V4 && view.fragment == Fragment::Later) return false;

  if (view.protocol != ip_protocol::icmp_of(view.version)) return true;
  // Never an error about an error or a redirect; when the type is out of reach it might be one.
  if (view.fragment == Fragment::Later || view.transport_offset >= head.size()) return false;
  const uint8_t type = head[view.transport_offset];
  if (view.version == IpVersion::V4) return !is_v4_error(type);
  return type >= v6_type::kFirstInformational && type != v6_type::kRedirect;
}

std::optional<size_t> build_icmp_error(const IcmpError& error, const IpAddress& from,
                                       const IpPacketView& view, const PacketSlices& offending,
                                       MutableBytes out) {
  MASQUE_ASSERT(out.size() >= kIcmpErrorSizeMax && offending.size() == view.length);
  if (from.version() != view.version) return std::nullopt;
  if (!may_answer_with_icmp_error(error.kind, view, offending.head)) return std::nullopt;

  const size_t ip_size = header_size(view.version);
  const size_t quoted = quote_size(error, view);
  const size_t size = ip_size + kIcmpHeaderSize + quoted;
  const auto [type, code] = type_and_code(error.kind, view.version);

  write_ip_header(from, view.source, size, out.data());
  uint8_t* icmp = out.data() + ip_size;
  icmp[0] = type;
  icmp[1] = code;
  store_be32(icmp + 2, 0);
  store_be16(icmp + 6, 0);
  if (error.kind == IcmpErrorKind::TooBig) {
    // RFC 1191 4: the low half of the second word; RFC 4443 3.2: the whole of it.
    const uint32_t mtu =
        view.version == IpVersion::V4 ? std::min<uint32_t>(error.mtu, 0xffff) : error.mtu;
    store_be32(icmp + 4, mtu);
  }
  uint8_t* quote = icmp + kIcmpHeaderSize;
  const size_t from_head = std::min(quoted, offending.head.size());
  std::copy_n(offending.head.begin(), from_head, quote);
  std::copy_n(offending.body.begin(), quoted - from_head, quote + from_head);
  store_be16(icmp + 2, icmp_checksum(from, view.source, Bytes(icmp, size - ip_size)));
  return size;
}

size_t build_icmp_echo(const IcmpEcho& echo, MutableBytes out) {
  const IpVersion version = echo.source.version();
  MASQUE_ASSERT(echo.destination.version() == version);
  const size_t ip_size = header_size(version);
  const size_t size = ip_size + kIcmpEchoHeaderSize + echo.data.size();
  if (size > out.size() || size > kPacketSizeMax) return 0;

  const bool request = echo.kind == IcmpEcho::Kind::Request;
  write_ip_header(echo.source, echo.destination, size, out.data());
  uint8_t* icmp = out.data() + ip_size;
  if (version == IpVersion::V4) {
    icmp[0] = request ? v4_type::kEcho : v4_type::kEchoReply;
  } else {
    icmp[0] = request ? v6_type::kEcho : v6_type::kEchoReply;
  }
  icmp[1] = 0;
  store_be16(icmp + 2, 0);
  store_be16(icmp + 4, echo.identifier);
  store_be16(icmp + 6, echo.sequence);
  std::ranges::copy(echo.data, icmp + kIcmpEchoHeaderSize);
  store_be16(icmp + 2, icmp_checksum(echo.source, echo.destination, Bytes(icmp, size - ip_size)));
  return size;
}

std::optional<IcmpEcho> parse_icmp_echo(const IpPacketView& view, Bytes packet) {
  MASQUE_ASSERT(packet.size() == view.length);
  if (view.protocol != ip_protocol::icmp_of(view.version) || view.fragment != Fragment::Whole) {
    return std::nullopt;
  }
  const Bytes message = packet.subspan(view.transport_offset);
  if (message.size() < kIcmpEchoHeaderSize || message[1] != 0) return std::nullopt;

  const bool v4 = view.version == IpVersion::V4;
  IcmpEcho::Kind kind;
  if (message[0] == (v4 ? v4_type::kEcho : v6_type::kEcho)) {
    kind = IcmpEcho::Kind::Request;
  } else if (message[0] == (v4 ? v4_type::kEchoReply : v6_type::kEchoReply)) {
    kind = IcmpEcho::Kind::Reply;
  } else {
    return std::nullopt;
  }
  if (icmp_checksum(view.source, view.destination, message) != 0) return std::nullopt;
  return IcmpEcho{.kind = kind,
                  .source = view.source,
                  .destination = view.destination,
                  .identifier = load_be16(message.data() + 4),
                  .sequence = load_be16(message.data() + 6),
                  .data = message.subspan(kIcmpEchoHeaderSize)};
}

namespace {

// RFC 9484 4.8: the chain of extension headers is walked here too.
uint8_t quoted_protocol(IpVersion version, Bytes quote) {
  if (version == IpVersion::V4) return quote[9];
  const size_t length = kIpv6HeaderSize + load_be16(quote.data() + 4);
  const auto quoted = parse_ip_packet(quote.first(std::min(length, quote.size())), length);
  return quoted ? quoted->protocol : quote[6];
}

}  // namespace

std::optional<QuotedPacket> parse_icmp_error_quote(const IpPacketView& view, Bytes packet) {
  MASQUE_ASSERT(packet.size() == view.length);
  if (view.protocol != ip_protocol::icmp_of(view.version) || view.fragment == Fragment::Later) {
    return std::nullopt;
  }
  const Bytes message = packet.subspan(view.transport_offset);
  const size_t quoted_header = header_size(view.version);
  if (message.size() < kIcmpHeaderSize + quoted_header) return std::nullopt;
  const bool error = view.version == IpVersion::V4 ? is_v4_error(message[0])
                                                   : message[0] < v6_type::kFirstInformational;
  const Bytes quote = message.subspan(kIcmpHeaderSize);
  if (!error || quote[0] >> 4 != static_cast<uint8_t>(view.version)) return std::nullopt;

  const size_t size = address_bytes(view.version);
  const size_t source_at = view.version == IpVersion::V4 ? 12 : 8;
  return QuotedPacket{
      .source = IpAddress::from_bytes(quote.subspan(source_at, size)).value(),
      .destination = IpAddress::from_bytes(quote.subspan(source_at + size, size)).value(),
      .protocol = quoted_protocol(view.version, quote)};
}

}  // namespace masque
