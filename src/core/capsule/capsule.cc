// SPDX-License-Identifier: Apache-2.0
#include "core/capsule/capsule.h"

#include <algorithm>
#include <tuple>

#include "base/mutant.h"
#include "core/capsule/http_datagram.h"

namespace masque {

namespace {

Result<IpVersion> parse_version(ByteReader& in) {
  TRY(const uint8_t version, in.u8());
  if (version != 4 && version != 6) return std::unexpected(WireError::BadIpVersion);
  return static_cast<IpVersion>(version);
}

Result<IpAddress> parse_address(ByteReader& in, IpVersion version) {
  TRY(const Bytes bytes, in.bytes(address_bytes(version)));
  return IpAddress::from_bytes(bytes);
}

struct Entry {
  RequestId request_id;
  IpPrefix prefix;
};

// The entry that ADDRESS_ASSIGN and ADDRESS_REQUEST share.
Result<Entry> parse_entry(ByteReader& in) {
  TRY(const uint64_t request_id, in.varint());
  TRY(const IpVersion version, parse_version(in));
  TRY(const IpAddress address, parse_address(in, version));
  TRY(const uint8_t length, in.u8());
  TRY(const IpPrefix prefix, IpPrefix::make(address, length));  // refuses host bits, RFC 9484 4.7.1
  return Entry{.request_id = RequestId(request_id), .prefix = prefix};
}

Result<IpAddressRange> parse_range(ByteReader& in) {
  TRY(const IpVersion version, parse_version(in));
  TRY(const IpAddress first, parse_address(in, version));
  TRY(const IpAddress last, parse_address(in, version));
  TRY(const uint8_t protocol, in.u8());
  return IpAddressRange{.range = {.first = first, .last = last}, .protocol = protocol};
}

size_t entry_size(RequestId request_id, const IpPrefix& prefix) {
  return varint_size(request_id.value()) + 1 + address_bytes(prefix.version()) + 1;
}

void encode_entry(RequestId request_id, const IpPrefix& prefix, ByteBuffer& out) {
  out.varint(request_id.value());
  out.u8(static_cast<uint8_t>(prefix.version()));
  out.bytes(prefix.address().bytes());
  out.u8(prefix.length());
}

void encode_header(CapsuleType type, size_t length, ByteBuffer& out) {
  out.varint(type.value());
  out.varint(length);
}

auto order_key(const IpAddressRange& entry) {
  return std::tuple(entry.range.version(), entry.protocol, entry.range.first, entry.range.last);
}

bool same_family_and_protocol(const IpAddressRange& a, const IpAddressRange& b) {
  return a.range.version() == b.range.version() && a.protocol == b.protocol;
}

// The range of `routes` (ordered, disjoint) that overlaps `range`, or null. Only the last one that
// starts at or before the end of `range` can.
const IpAddressRange* overlapping(std::span<const IpAddressRange> routes, const IpRange& range) {
  const auto after = std::ranges::upper_bound(
      routes, range.last, {}, [](const IpAddressRange& r) { return r.range.first; });
  if (after == routes.begin()) return nullptr;
  const IpAddressRange& candidate = *std::prev(after);
  if (mutant("ranges.overlap.limit"))
    return candidate.range.last > range.first ? &candidate : nullptr;
  return candidate.range.last >= range.first ? &candidate : nullptr;
}

// The entries for all protocols of one family: in a checked list they lie together.
std::span<const IpAddressRange> for_all_protocols(std::span<const IpAddressRange> ranges,
                                                  IpVersion version) {
  const auto matches = [version](const IpAddressRange& r) {
    return r.range.version() == version && r.protocol == 0;
  };
  const auto first = std::ranges::find_if(ranges, matches);
  const auto last = std::find_if_not(first, ranges.end(), matches);
  return {first, last};
}

// Appends what of `entry` is not covered by `covered` (ordered, disjoint, of the same family).
void append_uncovered(IpAddressRange entry, std::span<const IpAddressRange> covered,
                      std::vector<IpAddressRange>& out) {
  while (true) {
    const auto cover = std::ranges::find_if(
        covered, [&](const IpAddressRange& c) { return c.range.last >= entry.range.first; });
    if (cover == covered.end() || cover->range.first > entry.range.last) {
      out.push_back(entry);
      return;
    }
    if (cover->range.first > entry.range.first) {
      IpAddressRange before = entry;
      before.range.last = cover->range.first.previous().value();
      out.push_back(before);
    }
    if (cover->range.last >= entry.range.last) return;
    entry.range.first = cover->range.last.next().value();
  }
}

}  // namespace

Result<AddressAssign> parse_address_assign(Bytes value) {
  ByteReader in(value);
  AddressAssign capsule;
  while (!in.empty()) {
    if (capsule.addresses.size() == kAssignedAddressesMax + (mutant("assigned.limit") ? 1 : 0))
      return std::unexpected(WireError::TooMany);
    TRY(const Entry entry, parse_entry(in));
    capsule.addresses.push_back({.request_id = entry.request_id, .prefix = entry.prefix});
  }
  return capsule;
}

Result<AddressRequest> parse_address_request(Bytes value) {
  ByteReader in(value);
  // RFC 9484 4.7.2: an empty request aborts the stream.
  if (in.empty() && !mutant("request.empty.remove"))
    return std::unexpected(WireError::EmptyAddressRequest);
  AddressRequest capsule;
  while (!in.empty()) {
    if (capsule.addresses.size() == kRequestedAddressesMax + (mutant("requested.limit") ? 1 : 0))
      return std::unexpected(WireError::TooMany);
    TRY(const Entry entry, parse_entry(in));
    if (entry.request_id == RequestId(0) && !mutant("request_id.zero.remove"))
      return std::unexpected(WireError::ZeroRequestId);
    const bool reused =
        std::ranges::contains(capsule.addresses, entry.request_id, &RequestedAddress::request_id);
    if (reused && !mutant("request_id.reused.remove"))
      return std::unexpected(WireError::ReusedRequestId);
    capsule.addresses.push_back({.request_id = entry.request_id, .prefix = entry.prefix});
  }
  return capsule;
}

Result<RouteAdvertisement> parse_route_advertisement(Bytes value) {
  ByteReader in(value);
  RouteAdvertisement capsule;
  while (!in.empty()) {
    if (capsule.ranges.size() == kAddressRangesMax + (mutant("ranges.limit") ? 1 : 0))
      return std::unexpected(WireError::TooMany);
    TRY(const IpAddressRange range, parse_range(in));
    capsule.ranges.push_back(range);
  }
  TRY_VOID(check_routes(capsule.ranges));
  return capsule;
}

Result<void> check_routes(std::span<const IpAddressRange> ranges) {
  for (size_t i = 0; i < ranges.size(); ++i) {
    const IpAddressRange& b = ranges[i];
    if (b.range.first > b.range.last && !mutant("ranges.start_end.remove"))
      return std::unexpected(WireError::BadAddressRange);
    if (i == 0) continue;
    const IpAddressRange& a = ranges[i - 1];
    const bool rising =
        same_family_and_protocol(a, b)
            ? a.range.last < b.range.first || mutant("ranges.order.remove")
            : std::tuple(a.range.version(), a.protocol) < std::tuple(b.range.version(), b.protocol);
    if (!rising) return std::unexpected(WireError::RouteOrder);
  }
  for (const IpVersion version : {IpVersion::V4, IpVersion::V6}) {
    const std::span<const IpAddressRange> all = for_all_protocols(ranges, version);
    if (all.empty()) continue;
    for (const IpAddressRange& entry : ranges) {
      if (entry.protocol == 0 || entry.range.version() != version) continue;
      if (overlapping(all, entry.range) != nullptr && !mutant("ranges.overlap.remove"))
        return std::unexpected(WireError::RouteOverlap);
    }
  }
  return {};
}

std::vector<IpAddressRange> in_route_order(std::vector<IpAddressRange> ranges) {
  std::ranges::sort(ranges, {}, order_key);
  std::vector<IpAddressRange> joined;
  for (const IpAddressRange& entry : ranges) {
    if (!joined.empty() && same_family_and_protocol(joined.back(), entry)) {
      const std::optional<IpAddress> adjacent = joined.back().range.last.next();
      if (!adjacent || entry.range.first <= *adjacent) {
        joined.back().range.last = std::max(joined.back().range.last, entry.range.last);
        continue;
      }
    }
    joined.push_back(entry);
  }
  std::vector<IpAddressRange> out;
  for (const IpAddressRange& entry : joined) {
    if (entry.protocol == 0) {
      out.push_back(entry);
    } else {
      append_uncovered(entry, for_all_protocols(joined, entry.range.version()), out);
    }
  }
  return out;
}

void encode(const AddressAssign& capsule, ByteBuffer& out) {
  MASQUE_ASSERT(capsule.addresses.size() <= kAssignedAddressesMax);
  size_t length = 0;
  for (const AssignedAddress& a : capsule.addresses) length += entry_size(a.request_id, a.prefix);
  encode_header(capsule_type::kAddressAssign, length, out);
  for (const AssignedAddress& a : capsule.addresses) encode_entry(a.request_id, a.prefix, out);
}

void encode(const AddressRequest& capsule, ByteBuffer& out) {
  // RFC 9484 4.7.2: at least one, none with Request ID 0.
  MASQUE_ASSERT(!capsule.addresses.empty() && capsule.addresses.size() <= kRequestedAddressesMax);
  size_t length = 0;
  for (const RequestedAddress& a : capsule.addresses) {
    MASQUE_ASSERT(a.request_id != RequestId(0));
    length += entry_size(a.request_id, a.prefix);
  }
  encode_header(capsule_type::kAddressRequest, length, out);
  for (const RequestedAddress& a : capsule.addresses) encode_entry(a.request_id, a.prefix, out);
}

void encode(const RouteAdvertisement& capsule, ByteBuffer& out) {
  MASQUE_ASSERT(capsule.ranges.size() <= kAddressRangesMax &&
                check_routes(capsule.ranges).has_value());
  size_t length = 0;
  for (const IpAddressRange& entry : capsule.ranges)
    length += 1 + 2 * address_bytes(entry.range.version()) + 1;
  encode_header(capsule_type::kRouteAdvertisement, length, out);
  for (const IpAddressRange& entry : capsule.ranges) {
    out.u8(static_cast<uint8_t>(entry.range.version()));
    out.bytes(entry.range.first.bytes());
    out.bytes(entry.range.last.bytes());
    out.u8(entry.protocol);
  }
}

void encode_datagram_capsule(Bytes packet, ByteBuffer& out) {
  encode_header(capsule_type::kDatagram, varint_size(kIpPacketContext.value()) + packet.size(),
                out);
  out.varint(kIpPacketContext.value());
  out.bytes(packet);
}

}  // namespace masque
