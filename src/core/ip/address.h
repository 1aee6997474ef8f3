// SPDX-License-Identifier: Apache-2.0
// IP addresses, prefixes and ranges of both families. Values, valid by construction, ordered by
// family and then numerically, so that they can be keys.
#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"

namespace masque {

enum class IpVersion : uint8_t { V4 = 4, V6 = 6 };
constexpr uint8_t address_bits(IpVersion v) { return v == IpVersion::V4 ? 32 : 128; }
constexpr size_t address_bytes(IpVersion v) { return v == IpVersion::V4 ? 4 : 16; }

class IpAddress {
 public:
  constexpr IpAddress() = default;  // 0.0.0.0
  static constexpr IpAddress v4(uint32_t host_order) {
    IpAddress out;
    store_be32(out.bytes_.data(), host_order);
    return out;
  }
  static constexpr IpAddress v6(const std::array<uint8_t, 16>& bytes) {
    IpAddress out;
    out.version_ = IpVersion::V6;
    out.bytes_ = bytes;
    return out;
  }
  // 4 or 16 bytes in network order; anything else is BadIpVersion.
  static Result<IpAddress> from_bytes(Bytes bytes);
  // Dotted quad or RFC 4291 text, no zone, no brackets. BadSyntax otherwise.
  static Result<IpAddress> parse(std::string_view text);
  static constexpr IpAddress any(IpVersion version) {  // all zero
    IpAddress out;
    out.version_ = version;
    return out;
  }

  IpVersion version() const { return version_; }
  Bytes bytes() const { return {bytes_.data(), address_bytes(version_)}; }
  uint32_t v4_value() const { return load_be32(bytes_.data()); }
  bool is_any() const { return *this == any(version_); }
  bool is_multicast() const {
    return version_ == IpVersion::V4 ? (bytes_[0] & 0xf0) == 0xe0 : bytes_[0] == 0xff;
  }
  bool is_loopback() const;
  bool is_link_local() const;  // fe80::/10, 169.254/16
  // ff02::/16, narrower scopes, and 224.0.0.0/24: never forwarded beyond the link (RFC 9484 7.1).
  bool is_link_local_multicast() const;
  bool is_broadcast() const { return version_ == IpVersion::V4 && v4_value() == 0xffffffff; }
  std::string to_string() const;

  // The next address; nullopt after the last of the family.
  std::optional<IpAddress> next() const;
  std::optional<IpAddress> previous() const;

  friend auto operator<=>(const IpAddress&, const IpAddress&) = default;

 private:
  IpVersion version_ = IpVersion::V4;
  std::array<uint8_t, 16> bytes_{};  // a v4 address uses the first four; the rest is zero
};

// An address block with no host bits set (RFC 9484 4.7.1).
class IpPrefix {
 public:
  constexpr IpPrefix() = default;  // 0.0.0.0/32: never a valid assignment
  // BadPrefixLength, HostBitsSet.
  static Result<IpPrefix> make(const IpAddress& address, uint8_t length);
  // "10.8.0.0/24", "2001:db8::/32"; a bare address is a host prefix.
  static Result<IpPrefix> parse(std::string_view text);
  static IpPrefix host(const IpAddress& address);  // /32 or /128
  // The block of `length` bits that contains `address`: host bits are cleared.
  static IpPrefix containing(const IpAddress& address, uint8_t length);

  IpVersion version() const { return address_.version(); }
  const IpAddress& address() const { return address_; }
  uint8_t length() const { return length_; }
  bool contains(const IpAddress& address) const;
  bool contains(const IpPrefix& other) const;
  bool overlaps(const IpPrefix& other) const;
  IpAddress first() const { return address_; }
  IpAddress last() const;
  std::string to_string() const;  // always with "/length"

  friend auto operator<=>(const IpPrefix&, const IpPrefix&) = default;

 private:
  IpAddress address_;
  uint8_t length_ = 32;
};

// Inclusive range of one family, first <= last (RFC 9484 4.7.3).
struct IpRange {
  IpAddress first;
  IpAddress last;

  static IpRange of(const IpPrefix& prefix) { return {prefix.first(), prefix.last()}; }
  IpVersion version() const { return first.version(); }
  bool contains(const IpAddress& address) const { return first <= address && address <= last; }
  friend auto operator<=>(const IpRange&, const IpRange&) = default;
};

// The smallest set of prefixes that covers exactly the range, at most 2*bits-2 of them; only the
// first `count_max`, where a caller can use no more.
std::vector<IpPrefix> to_prefixes(const IpRange& range, size_t count_max = SIZE_MAX);
// Sorted, merged union of prefixes as ranges (adjacent ones joined).
std::vector<IpRange> to_ranges(std::vector<IpPrefix> prefixes);

}  // namespace masque
