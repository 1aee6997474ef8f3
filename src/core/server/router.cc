// SPDX-License-Identifier: Apache-2.0
#include "core/server/router.h"

#include <algorithm>
#include <utility>

namespace masque {

Router::Key Router::masked(const Key& key, uint8_t length) {
  if (length == 0) return {};
  if (length <= 64) return {.high = key.high & (UINT64_MAX << (64 - length)), .low = 0};
  return {.high = key.high,
          .low = length == 128 ? key.low : key.low & (UINT64_MAX << (128 - length))};
}

bool Router::add(const IpPrefix& prefix, Slot slot) {
  Table& table = prefix.version() == IpVersion::V4 ? v4_ : v6_;
  return table.add(key_of(prefix.address()), prefix.length(), slot);
}

void Router::remove(const IpPrefix& prefix) {
  Table& table = prefix.version() == IpVersion::V4 ? v4_ : v6_;
  table.remove(key_of(prefix.address()), prefix.length());
}

std::optional<Router::Slot> Router::find_exact(const IpPrefix& prefix) const {
  const Table& table = prefix.version() == IpVersion::V4 ? v4_ : v6_;
  return table.find_exact(key_of(prefix.address()), prefix.length());
}

size_t Router::Table::home(const Key& key, uint8_t length) const {
  // A multiplicative hash of all three parts; its top bits are the best mixed.
  uint64_t h = (key.high ^ std::rotl(key.low, 32)) * 0x9e3779b97f4a7c15u;
  h = (h ^ length ^ h >> 32) * 0xd6e8feb86659fd93u;
  return (h >> 32) & (entries_.size() - 1);
}

// The entry, or the free place where it would be.
size_t Router::Table::locate(const Key& key, uint8_t length) const {
  size_t at = home(key, length);
  while (entries_[at].length != kFree &&
         !(entries_[at].length == length && entries_[at].key == key)) {
    at = (at + 1) & (entries_.size() - 1);
  }
  return at;
}

void Router::Table::grow() {
  const std::vector<Entry> old =
      std::exchange(entries_, std::vector<Entry>(std::max<size_t>(16, entries_.size() * 2)));
  for (const Entry& entry : old) {
    if (entry.length != kFree) entries_[locate(entry.key, entry.length)] = entry;
  }
}

void Router::Table::count_length(uint8_t length, int by) {
  per_length_[length] = static_cast<uint32_t>(static_cast<int>(per_length_[length]) + by);
  lengths_.clear();
  for (size_t l = per_length_.size(); l-- > 0;) {
    if (per_length_[l] > 0) lengths_.push_back(static_cast<uint8_t>(l));
  }
}

bool Router::Table::add(const Key& key, uint8_t length, Slot slot) {
  if ((size_ + 1) * 2 > entries_.size()) grow();
  Entry& entry = entries_[locate(key, length)];
  if (entry.length != kFree) return false;
  entry = {.key = key, .slot = slot, .length = length};
  ++size_;
  count_length(length, 1);
  return true;
}

bool Router::Table::remove(const Key& key, uint8_t length) {
  if (entries_.empty()) return false;
  size_t hole = locate(key, length);
  if (entries_[hole].length == kFree) return false;
  --size_;
  count_length(length, -1);
  // Close the hole: entries that were pushed past it move back, so that no tombstones are needed.
  const size_t mask = entries_.size() - 1;
  for (size_t at = (hole + 1) & mask; entries_[at].length != kFree; at = (at + 1) & mask) {
    const size_t wanted = home(entries_[at].key, entries_[at].length);
    if (((at - wanted) & mask) < ((at - hole) & mask)) continue;
    entries_[hole] = entries_[at];
    hole = at;
  }
  entries_[hole] = Entry{};
  return true;
}

std::optional<Router::Slot> Router::Table::find(const Key& key) const {
  for (const uint8_t length : lengths_) {
    const Entry& entry = entries_[locate(masked(key, length), length)];
    if (entry.length != kFree) return entry.slot;
  }
  return std::nullopt;
}

std::optional<Router::Slot> Router::Table::find_exact(const Key& key, uint8_t length) const {
  if (entries_.empty()) return std::nullopt;
  const Entry& entry = entries_[locate(key, length)];
  if (entry.length == kFree) return std::nullopt;
  return entry.slot;
}

}  // namespace masque
