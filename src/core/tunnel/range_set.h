// SPDX-License-Identifier: Apache-2.0
// A set of IP addresses as sorted, disjoint, merged ranges of both families. contains() is a binary
// search over plain integers in one array: no allocation, no pointer chasing.
#pragma once

#include <compare>
#include <cstdint>
#include <span>
#include <vector>

#include "core/ip/address.h"

namespace masque {

class RangeSet {
 public:
  RangeSet() = default;
  explicit RangeSet(std::span<const IpRange> ranges);
  explicit RangeSet(std::span<const IpPrefix> prefixes);

  bool contains(const IpAddress& address) const {
    return address.version() == IpVersion::V4 ? contains_v4(address) : contains_v6(address);
  }
  // Every address of the range, or of the prefix, is in the set.
  bool covers(const IpRange& range) const;
  bool covers(const IpPrefix& prefix) const { return covers(IpRange::of(prefix)); }
  bool empty() const { return v4_.empty() && v6_.empty(); }
  bool has(IpVersion version) const {
    return version == IpVersion::V4 ? !v4_.empty() : !v6_.empty();
  }
  size_t size() const { return v4_.size() + v6_.size(); }

 private:
  struct Wide {
    uint64_t high = 0;
    uint64_t low = 0;
    friend auto operator<=>(const Wide&, const Wide&) = default;
  };
  template <class Number>
  struct Range {
    Number first;
    Number last;
  };
  static Wide wide(const IpAddress& address);
  bool contains_v4(const IpAddress& address) const;
  bool contains_v6(const IpAddress& address) const;
  void add(const IpRange& range);
  void merge();

  std::vector<Range<uint32_t>> v4_;
  std::vector<Range<Wide>> v6_;
};

}  // namespace masque
