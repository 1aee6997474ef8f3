// SPDX-License-Identifier: Apache-2.0
#include "core/tunnel/range_set.h"

#include <algorithm>

namespace masque {
namespace {

template <class Ranges, class Number>
const auto* find_range(const Ranges& ranges, const Number& value) {
  const auto after = std::upper_bound(ranges.begin(), ranges.end(), value,
                                      [](const Number& v, const auto& r) { return v < r.first; });
  using Pointer = const typename Ranges::value_type*;
  if (after == ranges.begin()) return Pointer{nullptr};
  const auto& candidate = *(after - 1);
  return value <= candidate.last ? &candidate : Pointer{nullptr};
}

template <class Ranges>
void sort_and_merge(Ranges& ranges, auto is_next) {
  std::sort(ranges.begin(), ranges.end(),
            [](const auto& a, const auto& b) { return a.first < b.first; });
  size_t kept = 0;
  for (const auto range : ranges) {
    if (kept > 0 &&
        (range.first <= ranges[kept - 1].last || is_next(ranges[kept - 1].last, range.first))) {
      ranges[kept - 1].last = std::max(ranges[kept - 1].last, range.last);
    } else {
      ranges[kept++] = range;
    }
  }
  ranges.resize(kept);
}

uint64_t load_be64(const uint8_t* p) { return uint64_t{load_be32(p)} << 32 | load_be32(p + 4); }

}  // namespace

RangeSet::RangeSet(std::span<const IpRange> ranges) {
  for (const IpRange& range : ranges) add(range);
  merge();
}

RangeSet::RangeSet(std::span<const IpPrefix> prefixes) {
  for (const IpPrefix& prefix : prefixes) add(IpRange::of(prefix));
  merge();
}

RangeSet::Wide RangeSet::wide(const IpAddress& address) {
  const uint8_t* bytes = address.bytes().data();
  return {.high = load_be64(bytes), .low = load_be64(bytes + 8)};
}

void RangeSet::add(const IpRange& range) {
  if (range.version() == IpVersion::V4) {
    v4_.push_back({.first = range.first.v4_value(), .last = range.last.v4_value()});
  } else {
    v6_.push_back({.first = wide(range.first), .last = wide(range.last)});
  }
}

void RangeSet::merge() {
  // The sum cannot wrap: a range that begins after `last` proves that `last` is not the maximum.
  sort_and_merge(v4_, [](uint32_t last, uint32_t first) { return last + 1 == first; });
  sort_and_merge(v6_, [](const Wide& last, const Wide& first) {
    const Wide next{.high = last.high + (last.low == UINT64_MAX ? 1 : 0), .low = last.low + 1};
    return next == first;
  });
}

bool RangeSet::contains_v4(const IpAddress& address) const {
  return find_range(v4_, address.v4_value()) != nullptr;
}
bool RangeSet::contains_v6(const IpAddress& address) const {
  return find_range(v6_, wide(address)) != nullptr;
}

bool RangeSet::covers(const IpRange& range) const {
  if (range.version() == IpVersion::V4) {
    const auto* found = find_range(v4_, range.first.v4_value());
    return found != nullptr && range.last.v4_value() <= found->last;
  }
  const auto* found = find_range(v6_, wide(range.first));
  return found != nullptr && wide(range.last) <= found->last;
}

}  // namespace masque
