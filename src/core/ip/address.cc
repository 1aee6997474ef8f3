// SPDX-License-Identifier: Apache-2.0
#include "core/ip/address.h"

#include <algorithm>
#include <bit>
#include <charconv>
#include <format>

#include "base/mutant.h"

namespace masque {

namespace {

// Addresses as numbers: a v4 address in the low 32 bits.
// No `using` form takes __extension__. NOLINTNEXTLINE(modernize-use-using)
__extension__ typedef unsigned __int128 Number;

Number to_number(const IpAddress& address) {
  Number value = 0;
  for (const uint8_t b : address.bytes()) value = value << 8 | b;
  return value;
}

IpAddress to_address(IpVersion version, Number value) {
  if (version == IpVersion::V4) return IpAddress::v4(static_cast<uint32_t>(value));
  std::array<uint8_t, 16> bytes;
  for (size_t i = 0; i < 16; ++i) bytes[i] = static_cast<uint8_t>(value >> (8 * (15 - i)));
  return IpAddress::v6(bytes);
}

// The bits of a block of that length that vary.
Number host_mask(IpVersion version, unsigned length) {
  const unsigned host_bits = address_bits(version) - length;
  return host_bits == 128 ? ~Number{0} : (Number{1} << host_bits) - 1;
}

// dec-octet of RFC 3986 3.2.2: 0-255 without leading zeros, which some would read as octal.
bool parse_octet(std::string_view text, uint8_t& out) {
  if (text.empty() || text.size() > 3 || (text.size() > 1 && text[0] == '0')) return false;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), out);
  return error == std::errc{} && end == text.data() + text.size();
}

bool parse_v4(std::string_view text, uint8_t* out) {
  for (int i = 0; i < 4; ++i) {
    const size_t dot = i < 3 ? text.find('.') : text.size();
    if (dot == std::string_view::npos || !parse_octet(text.substr(0, dot), out[i])) return false;
    text.remove_prefix(std::min(dot + 1, text.size()));
  }
  return true;
}

bool parse_group(std::string_view text, uint16_t& out) {
  if (text.empty() || text.size() > 4) return false;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), out, 16);
  return error == std::errc{} && end == text.data() + text.size();
}

// Groups separated by colons, the last perhaps a dotted quad, appended to `out`. Empty text is no
// groups.
bool parse_groups(std::string_view text, std::array<uint8_t, 16>& out, size_t& used) {
  while (!text.empty()) {
    const size_t colon = text.find(':');
    const std::string_view group = text.substr(0, colon);
    if (colon == std::string_view::npos && group.contains('.')) {
      if (used + 4 > out.size() || !parse_v4(group, out.data() + used)) return false;
      used += 4;
      return true;
    }
    uint16_t value = 0;
    if (used + 2 > out.size() || !parse_group(group, value)) return false;
    store_be16(out.data() + used, value);
    used += 2;
    if (colon == std::string_view::npos) return true;
    text.remove_prefix(colon + 1);
    if (text.empty()) return false;  // a single colon at the end
  }
  return true;
}

bool parse_v6(std::string_view text, std::array<uint8_t, 16>& out) {
  const size_t gap = text.find("::");
  size_t used = 0;
  if (gap == std::string_view::npos) return parse_groups(text, out, used) && used == 16;

  const std::string_view before = text.substr(0, gap);
  const std::string_view after = text.substr(gap + 2);
  // A dotted quad only stands at the very end.
  if (before.contains('.') || !parse_groups(before, out, used)) return false;
  std::array<uint8_t, 16> tail{};
  size_t tail_used = 0;
  if (!parse_groups(after, tail, tail_used)) return false;
  if (used + tail_used > 14) return false;  // "::" stands for at least one group
  std::fill(out.begin() + static_cast<ptrdiff_t>(used), out.end(), uint8_t{0});
  std::copy_n(tail.begin(), tail_used, out.end() - static_cast<ptrdiff_t>(tail_used));
  return true;
}

// RFC 5952 4.2: the longest run of two or more zero groups, the first of equals.
struct ZeroRun {
  size_t start = 8;
  size_t length = 0;
};
ZeroRun longest_zero_run(const std::array<uint16_t, 8>& groups) {
  ZeroRun best;
  for (size_t i = 0; i < 8;) {
    size_t end = i;
    while (end < 8 && groups[end] == 0) ++end;
    if (end - i >= 2 && end - i > best.length) best = {.start = i, .length = end - i};
    i = end + 1;
  }
  return best;
}

std::string format_v6(Bytes bytes) {
  std::array<uint16_t, 8> groups;
  for (size_t i = 0; i < 8; ++i) groups[i] = load_be16(bytes.data() + 2 * i);
  // RFC 5952 5: the dotted form where the prefix says that a v4 address is inside.
  const bool mapped =
      std::ranges::all_of(bytes.first(10), [](uint8_t b) { return b == 0; }) && groups[5] == 0xffff;
  if (mapped) {
    return std::format("::ffff:{}.{}.{}.{}", bytes[12], bytes[13], bytes[14], bytes[15]);
  }
  const ZeroRun run = longest_zero_run(groups);
  std::string out;
  for (size_t i = 0; i < 8;) {
    if (i == run.start) {
      out += "::";
      i += run.length;
      continue;
    }
    if (!out.empty() && !out.ends_with(':')) out += ':';
    out += std::format("{:x}", groups[i]);
    ++i;
  }
  return out;
}

}  // namespace

Result<IpAddress> IpAddress::from_bytes(Bytes bytes) {
  if (bytes.size() == 4) return v4(load_be32(bytes.data()));
  if (bytes.size() != 16) return std::unexpected(WireError::BadIpVersion);
  std::array<uint8_t, 16> copy;
  std::ranges::copy(bytes, copy.begin());
  return v6(copy);
}

Result<IpAddress> IpAddress::parse(std::string_view text) {
  std::array<uint8_t, 16> bytes{};
  if (text.contains(':')) {
    if (!parse_v6(text, bytes)) return std::unexpected(WireError::BadSyntax);
    return v6(bytes);
  }
  if (!parse_v4(text, bytes.data())) return std::unexpected(WireError::BadSyntax);
  return v4(load_be32(bytes.data()));
}

bool IpAddress::is_loopback() const {
  if (version_ == IpVersion::V4) return bytes_[0] == 127;
  return to_number(*this) == 1;
}

bool IpAddress::is_link_local() const {
  if (version_ == IpVersion::V4) return bytes_[0] == 169 && bytes_[1] == 254;
  return bytes_[0] == 0xfe && (bytes_[1] & 0xc0) == 0x80;
}

bool IpAddress::is_link_local_multicast() const {
  if (version_ == IpVersion::V4) return bytes_[0] == 224 && bytes_[1] == 0 && bytes_[2] == 0;
  // RFC 4291 2.7: the scope is the low nibble whatever the flags; interface-local goes nowhere
  // either.
  return bytes_[0] == 0xff && (bytes_[1] & 0x0f) <= 2;
}

std::string IpAddress::to_string() const {
  if (version_ == IpVersion::V6) return format_v6(bytes());
  return std::format("{}.{}.{}.{}", bytes_[0], bytes_[1], bytes_[2], bytes_[3]);
}

std::optional<IpAddress> IpAddress::next() const {
  const Number value = to_number(*this);
  if (value == host_mask(version_, 0)) return std::nullopt;
  return to_address(version_, value + 1);
}

std::optional<IpAddress> IpAddress::previous() const {
  const Number value = to_number(*this);
  if (value == 0) return std::nullopt;
  return to_address(version_, value - 1);
}

Result<IpPrefix> IpPrefix::make(const IpAddress& address, uint8_t length) {
  if (length > address_bits(address.version())) return std::unexpected(WireError::BadPrefixLength);
  const IpPrefix prefix = containing(address, length);
  if (prefix.address_ != address && !mutant("prefix.host_bits.remove"))
    return std::unexpected(WireError::HostBitsSet);
  return prefix;
}

Result<IpPrefix> IpPrefix::parse(std::string_view text) {
  const size_t slash = text.find('/');
  TRY(const IpAddress address, IpAddress::parse(text.substr(0, slash)));
  if (slash == std::string_view::npos) return host(address);
  const std::string_view digits = text.substr(slash + 1);
  // RFC 9484 4.6: one or two digits for IPv4, up to three for IPv6.
  if (digits.empty() || digits.size() > (address.version() == IpVersion::V4 ? 2 : 3)) {
    return std::unexpected(WireError::BadSyntax);
  }
  uint16_t length = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), length);
  if (error != std::errc{} || end != digits.data() + digits.size()) {
    return std::unexpected(WireError::BadSyntax);
  }
  if (length > 128) return std::unexpected(WireError::BadPrefixLength);
  return make(address, static_cast<uint8_t>(length));
}

IpPrefix IpPrefix::host(const IpAddress& address) {
  IpPrefix prefix;
  prefix.address_ = address;
  prefix.length_ = address_bits(address.version());
  return prefix;
}

IpPrefix IpPrefix::containing(const IpAddress& address, uint8_t length) {
  const IpVersion version = address.version();
  MASQUE_ASSERT(length <= address_bits(version));
  IpPrefix prefix;
  prefix.address_ = to_address(version, to_number(address) & ~host_mask(version, length));
  prefix.length_ = length;
  return prefix;
}

bool IpPrefix::contains(const IpAddress& address) const {
  if (address.version() != version()) return false;
  const Bytes mine = address_.bytes();
  const Bytes other = address.bytes();
  const size_t whole = length_ / 8;
  if (std::memcmp(mine.data(), other.data(), whole) != 0) return false;
  const unsigned rest = length_ % 8;
  return rest == 0 || (mine[whole] ^ other[whole]) >> (8 - rest) == 0;
}

bool IpPrefix::contains(const IpPrefix& other) const {
  return other.length_ >= length_ && contains(other.address_);
}

bool IpPrefix::overlaps(const IpPrefix& other) const {
  return contains(other) || other.contains(*this);
}

IpAddress IpPrefix::last() const {
  return to_address(version(), to_number(address_) | host_mask(version(), length_));
}

std::string IpPrefix::to_string() const {
  return std::format("{}/{}", address_.to_string(), length_);
}

std::vector<IpPrefix> to_prefixes(const IpRange& range, size_t count_max) {
  const IpVersion version = range.version();
  MASQUE_ASSERT(range.first <= range.last && range.last.version() == version);
  std::vector<IpPrefix> out;
  Number first = to_number(range.first);
  const Number last = to_number(range.last);
  while (out.size() < count_max) {
    // The largest block that is aligned at `first` and does not pass `last`.
    unsigned length = address_bits(version);
    while (length > 0) {
      const Number mask = host_mask(version, length - 1);
      if ((first & mask) != 0 || last - first < mask) break;
      --length;
    }
    out.push_back(IpPrefix::containing(to_address(version, first), static_cast<uint8_t>(length)));
    const Number mask = host_mask(version, length);
    if (last - first == mask) break;
    first += mask + 1;
  }
  return out;
}

std::vector<IpRange> to_ranges(std::vector<IpPrefix> prefixes) {
  std::ranges::sort(prefixes);
  std::vector<IpRange> out;
  for (const IpPrefix& prefix : prefixes) {
    const IpRange range = IpRange::of(prefix);
    if (!out.empty() && out.back().version() == range.version()) {
      const std::optional<IpAddress> adjacent = out.back().last.next();
      if (!adjacent || range.first <= *adjacent) {
        out.back().last = std::max(out.back().last, range.last);
        continue;
      }
    }
    out.push_back(range);
  }
  return out;
}

}  // namespace masque
