// SPDX-License-Identifier: Apache-2.0
#include "core/server/address_pool.h"

#include <algorithm>
#include <iterator>

#include "base/mutant.h"

namespace masque {
namespace {

// Enough for any gateway, and far from the end of the arithmetic.
constexpr uint8_t kIndexBitsMax = 48;

IpAddress add(const IpAddress& base, uint64_t index) {
  std::array<uint8_t, 16> bytes{};
  const Bytes in = base.bytes();
  std::copy(in.begin(), in.end(), bytes.begin());
  uint64_t addend = index;
  for (size_t i = in.size(); i-- > 0 && addend != 0;) {
    addend += bytes[i];
    bytes[i] = static_cast<uint8_t>(addend & 0xff);
    addend >>= 8;
  }
  return base.version() == IpVersion::V4 ? IpAddress::v4(load_be32(bytes.data()))
                                         : IpAddress::v6(bytes);
}

unsigned __int128 to_number(const IpAddress& address) {
  unsigned __int128 value = 0;
  for (const uint8_t byte : address.bytes()) value = value << 8 | byte;
  return value;
}

}  // namespace

AddressPool::AddressPool(Options options) : options_(std::move(options)) {
  for (const IpPrefix& prefix : options_.pools) {
    pools_.push_back(make_pool(prefix));
    const bool single = prefix.length() >= address_bits(prefix.version()) - 1;
    own_.push_back(single ? prefix.first() : *prefix.first().next());
  }
}

AddressPool::Pool AddressPool::make_pool(const IpPrefix& prefix) {
  Pool pool{.prefix = prefix};
  const unsigned bits =
      std::min<unsigned>(address_bits(prefix.version()) - prefix.length(), kIndexBitsMax);
  const uint64_t end = (uint64_t{1} << bits) - 1;
  if (end <= 1) {
    // Of a /31 or /127 the gateway has the first address; of a /32 or /128 nothing is left.
    pool.first = 1;
    pool.last = end;
  } else {
    pool.first = mutant("lease.own.limit")
                     ? 1
                     : 2;  // after the network (or anycast) address and the gateway's
    pool.last =
        prefix.version() == IpVersion::V4 && !mutant("lease.broadcast.limit") ? end - 1 : end;
  }
  pool.next = pool.first;
  return pool;
}

IpPrefix AddressPool::lease_at(const Pool& pool, uint64_t index) {
  return IpPrefix::host(add(pool.prefix.first(), index));
}

std::optional<uint64_t> AddressPool::index_in(const Pool& pool, const IpPrefix& prefix) {
  if (prefix.length() != address_bits(prefix.version()) || !pool.prefix.contains(prefix))
    return std::nullopt;
  const auto index = to_number(prefix.first()) - to_number(pool.prefix.first());
  if (index < pool.first || index > pool.last) return std::nullopt;
  return static_cast<uint64_t>(index);
}

bool AddressPool::has(IpVersion version) const {
  return std::ranges::any_of(pools_, [&](const Pool& p) { return p.prefix.version() == version; });
}
bool AddressPool::contains(const IpAddress& address) const {
  return std::ranges::any_of(pools_, [&](const Pool& p) { return p.prefix.contains(address); });
}
bool AddressPool::contains(const IpPrefix& prefix) const {
  return std::ranges::any_of(pools_, [&](const Pool& p) { return p.prefix.contains(prefix); });
}
bool AddressPool::is_own(const IpPrefix& prefix) const {
  return std::ranges::any_of(own_, [&](const IpAddress& own) { return prefix.contains(own); });
}

// Leases never overlap each other; one that overlaps the prefix is its neighbour in order.
std::optional<std::string> AddressPool::owner(const IpPrefix& prefix) const {
  const auto after = owners_.lower_bound(prefix);
  if (after != owners_.end() && after->first.overlaps(prefix)) return after->second;
  if (after != owners_.begin() && std::prev(after)->first.overlaps(prefix)) {
    return std::prev(after)->second;
  }
  return std::nullopt;
}

std::vector<IpPrefix> AddressPool::acquire(Instant now, std::string_view identity,
                                           IpVersion version) {
  const std::string key(identity);
  std::vector<IpPrefix> out;
  if (const auto found = holders_.find(key); found != holders_.end()) {
    std::ranges::copy_if(found->second.prefixes, std::back_inserter(out),
                         [&](const IpPrefix& prefix) { return prefix.version() == version; });
  }
  if (out.empty()) {
    auto fresh = take_free(version);
    while (!fresh && evict_one(now, version)) fresh = take_free(version);
    if (!fresh) return out;
    give(identity, *fresh);
    out.push_back(*fresh);
  }
  mark_absent(key, holders_.at(key), std::nullopt);
  return out;
}

std::optional<IpPrefix> AddressPool::take_free(IpVersion version) {
  for (Pool& pool : pools_) {
    if (pool.prefix.version() != version) continue;
    if (const auto prefix = take_from(pool)) return prefix;
  }
  return std::nullopt;
}

std::optional<IpPrefix> AddressPool::take_from(Pool& pool) {
  const auto usable = [&](const IpPrefix& prefix) {
    const auto overlaps = [&](const IpPrefix& r) { return r.overlaps(prefix); };
    if (mutant("lease.reserved.remove")) return !is_taken(prefix);
    if (mutant("lease.taken.remove")) return std::ranges::none_of(reserved_, overlaps);
    return !is_taken(prefix) && std::ranges::none_of(reserved_, overlaps);
  };
  while (pool.next <= pool.last) {
    const IpPrefix prefix = lease_at(pool, pool.next++);
    if (usable(prefix)) return prefix;
  }
  // Addresses that were given back, the one that is free for longest first.
  for (size_t tries = pool.freed.size(); tries > 0; --tries) {
    const uint64_t index = pool.freed.front();
    pool.freed.pop_front();
    const IpPrefix prefix = lease_at(pool, index);
    if (usable(prefix)) return prefix;
    if (!is_taken(prefix)) pool.freed.push_back(index);  // reserved today, perhaps not tomorrow
  }
  return std::nullopt;
}

// Takes the lease of the identity that is absent for longest, if its time is over.
bool AddressPool::evict_one(Instant now, IpVersion version) {
  for (const auto& [since, identity] : absent_) {
    if (now - since < options_.lease_time && !mutant("lease.time.remove")) return false;
    const auto& prefixes = holders_.at(identity).prefixes;
    const auto of_family = [&](const IpPrefix& p) { return p.version() == version; };
    if (std::ranges::none_of(prefixes, of_family)) continue;
    return remove(std::string(identity));
  }
  return false;
}

void AddressPool::give(std::string_view identity, const IpPrefix& prefix) {
  owners_.insert_or_assign(prefix, std::string(identity));
  holders_[std::string(identity)].prefixes.push_back(prefix);
  mark_changed(identity);
}

void AddressPool::take_back(const IpPrefix& prefix) {
  owners_.erase(prefix);
  for (Pool& pool : pools_) {
    const auto index = index_in(pool, prefix);
    if (index && *index < pool.next) pool.freed.push_back(*index);
  }
}

void AddressPool::mark_absent(const std::string& identity, Holder& holder,
                              std::optional<Instant> since) {
  if (holder.absent_since) absent_.erase({*holder.absent_since, identity});
  holder.absent_since = since;
  if (since) absent_.insert({*since, identity});
}

void AddressPool::release(Instant now, std::string_view identity) {
  const auto found = holders_.find(std::string(identity));
  if (found == holders_.end() || found->second.absent_since) return;
  if (options_.kind == LeaseKind::Fresh || mutant("lease.sticky.remove"))
    return void(remove(identity));
  mark_absent(found->first, found->second, now);
}

bool AddressPool::remove(std::string_view identity) {
  const auto found = holders_.find(std::string(identity));
  if (found == holders_.end()) return false;
  mark_absent(found->first, found->second, std::nullopt);
  for (const IpPrefix& prefix : found->second.prefixes) take_back(prefix);
  mark_changed(identity);
  holders_.erase(found);
  return true;
}

bool AddressPool::load(Instant now, std::string_view identity, const IpPrefix& prefix) {
  const auto fits = [&](const Pool& pool) { return index_in(pool, prefix).has_value(); };
  if (std::ranges::none_of(pools_, fits) || is_own(prefix)) return false;
  if (is_taken(prefix) && !mutant("lease.load.taken")) return false;
  Holder& holder = holders_[std::string(identity)];
  owners_.insert_or_assign(prefix, std::string(identity));
  holder.prefixes.push_back(prefix);
  mark_absent(std::string(identity), holder, now);
  return true;  // it comes from the store: nothing to write
}

bool AddressPool::set(std::string_view identity, std::span<const IpPrefix> prefixes) {
  for (const IpPrefix& prefix : prefixes) {
    const auto other = owner(prefix);
    if (is_own(prefix) && !mutant("lease.set.own")) return false;
    if (other && *other != identity && !mutant("lease.set.owner")) return false;
  }
  const std::string key(identity);
  std::vector<IpPrefix> before = leases(identity);
  std::vector<IpPrefix> after(prefixes.begin(), prefixes.end());
  std::ranges::copy_if(before, std::back_inserter(after), [&](const IpPrefix& kept) {
    return std::ranges::none_of(
        prefixes, [&](const IpPrefix& prefix) { return prefix.version() == kept.version(); });
  });
  std::ranges::sort(after);
  after.erase(std::ranges::unique(after).begin(), after.end());
  if (after == before) return true;
  for (const IpPrefix& prefix : before) take_back(prefix);
  holders_[key].prefixes.clear();
  for (const IpPrefix& prefix : after) give(identity, prefix);
  return true;
}

void AddressPool::set_reserved(std::vector<IpPrefix> prefixes) { reserved_ = std::move(prefixes); }

std::vector<IpPrefix> AddressPool::leases(std::string_view identity) const {
  const auto found = holders_.find(std::string(identity));
  if (found == holders_.end()) return {};
  std::vector<IpPrefix> out = found->second.prefixes;
  std::ranges::sort(out);
  return out;
}

void AddressPool::mark_changed(std::string_view identity) {
  if (changed_set_.emplace(identity).second) changed_.emplace_back(identity);
}

std::optional<std::string> AddressPool::poll_changed() {
  if (changed_.empty()) return std::nullopt;
  std::string identity = std::move(changed_.front());
  changed_.pop_front();
  changed_set_.erase(identity);
  return identity;
}

uint64_t AddressPool::capacity(IpVersion version) const {
  uint64_t sum = 0;
  for (const Pool& pool : pools_) {
    if (pool.prefix.version() != version || pool.first > pool.last) continue;
    sum += pool.last - pool.first + 1;
  }
  return sum;
}

size_t AddressPool::leased(IpVersion version) const {
  return static_cast<size_t>(std::ranges::count_if(
      owners_, [&](const auto& entry) { return entry.first.version() == version; }));
}

}  // namespace masque
