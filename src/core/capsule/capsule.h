// SPDX-License-Identifier: Apache-2.0
// The capsules of CONNECT-IP (RFC 9484 4.7): structs with the RFC's names, parsers of a capsule's
// value and encoders of whole capsules (type, length, value). What a parser returns obeys every
// MUST of the RFC; limits of ours are named below. capsule_reader.h cuts the data stream into
// capsules.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/bytes.h"
#include "base/id.h"
#include "base/result.h"
#include "core/ip/address.h"

namespace masque {

namespace capsule_type {
constexpr CapsuleType kDatagram{0x00};       // RFC 9297 3.5
constexpr CapsuleType kAddressAssign{0x01};  // RFC 9484 12.4
constexpr CapsuleType kAddressRequest{0x02};
constexpr CapsuleType kRouteAdvertisement{0x03};
// Reserved so that receivers stay tolerant: 0x29 * N + 0x17 (RFC 9297 5.4).
constexpr bool is_grease(CapsuleType type) {
  return type.value() >= 0x17 && (type.value() - 0x17) % 0x29 == 0;
}
}  // namespace capsule_type

constexpr size_t kAssignedAddressesMax = 64;
constexpr size_t kRequestedAddressesMax = 64;
// What an operator may give one client: the other half of ADDRESS_ASSIGN answers requests.
constexpr size_t kGivenAddressesMax = kAssignedAddressesMax / 2;
constexpr size_t kAddressRangesMax = 4096;

// One entry of ADDRESS_ASSIGN (RFC 9484 4.7.1).
struct AssignedAddress {
  RequestId request_id{0};  // of the request it answers; 0 = unprompted
  IpPrefix prefix;

  // All-zero address with the maximum length: the request was refused, nothing is assigned
  // (RFC 9484 4.7.2).
  bool is_denial() const {
    return prefix.address().is_any() && prefix.length() == address_bits(prefix.version());
  }
  static AssignedAddress denial(RequestId request_id, IpVersion version) {
    return {.request_id = request_id, .prefix = IpPrefix::host(IpAddress::any(version))};
  }
  friend bool operator==(const AssignedAddress&, const AssignedAddress&) = default;
};
// The complete list: an address that is absent from a newer capsule is withdrawn.
struct AddressAssign {
  std::vector<AssignedAddress> addresses;
  friend bool operator==(const AddressAssign&, const AddressAssign&) = default;
};

// One entry of ADDRESS_REQUEST (RFC 9484 4.7.2). An all-zero address asks for any of the family.
struct RequestedAddress {
  RequestId request_id{0};  // never 0 on the wire
  IpPrefix prefix;
  friend bool operator==(const RequestedAddress&, const RequestedAddress&) = default;
};
struct AddressRequest {
  std::vector<RequestedAddress> addresses;  // at least one
  friend bool operator==(const AddressRequest&, const AddressRequest&) = default;
};

// One entry of ROUTE_ADVERTISEMENT (RFC 9484 4.7.3).
struct IpAddressRange {
  IpRange range;
  uint8_t protocol = 0;  // 0 = all; ICMP is always allowed
  friend bool operator==(const IpAddressRange&, const IpAddressRange&) = default;
};
// The complete list, in the RFC's order.
struct RouteAdvertisement {
  std::vector<IpAddressRange> ranges;
  friend bool operator==(const RouteAdvertisement&, const RouteAdvertisement&) = default;
};

// `value` is what follows the capsule's length. Trailing bytes are an error (RFC 9297 3.3).
Result<AddressAssign> parse_address_assign(Bytes value);
Result<AddressRequest> parse_address_request(Bytes value);
Result<RouteAdvertisement> parse_route_advertisement(Bytes value);

// Append a whole capsule. What they are given obeys the rules above: anything else is our own
// fault.
void encode(const AddressAssign& capsule, ByteBuffer& out);
void encode(const AddressRequest& capsule, ByteBuffer& out);
void encode(const RouteAdvertisement& capsule, ByteBuffer& out);
// A DATAGRAM capsule that holds one IP packet with Context ID 0.
void encode_datagram_capsule(Bytes packet, ByteBuffer& out);

// RFC 9484 4.7.3: version, protocol, then strictly rising ranges (RouteOrder); no range for all
// protocols overlaps one for a single protocol (RouteOverlap); start <= end (BadAddressRange).
Result<void> check_routes(std::span<const IpAddressRange> ranges);
// Puts ranges in that order: sorts, joins ranges that touch or adjoin, and removes from the
// single-protocol ranges what the ranges for all protocols cover already.
std::vector<IpAddressRange> in_route_order(std::vector<IpAddressRange> ranges);

}  // namespace masque
