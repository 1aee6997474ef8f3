// SPDX-License-Identifier: Apache-2.0
// Inner addresses for clients, IPv4 and IPv6, out of several pools. A lease belongs to an identity,
// not to a connection: the same identity gets the same address for as long as its lease lives. A
// lease is given to somebody else only when it is absent for longer than the lease time AND the
// pool has nothing else left. Where leases are not sticky, one ends with its session instead, and
// the next session gets the address that is unused for longest (RFC 9484 11: an address that stays
// lets others follow a client).
//
// The gateway owns the first address of each pool. Of an IPv4 pool larger than /31 the network and
// the broadcast address are never given out. A lease is one address.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/time.h"
#include "core/ip/address.h"

namespace masque {

enum class LeaseKind : uint8_t { Sticky, Fresh };

class AddressPool {
 public:
  struct Options {
    std::vector<IpPrefix> pools;
    LeaseKind kind = LeaseKind::Sticky;
    Duration lease_time = 24h * 30;
  };
  explicit AddressPool(Options options);

  const std::vector<IpAddress>& own_addresses() const { return own_; }
  bool has(IpVersion version) const;
  // Inside one of the pools, whoever has it.
  bool contains(const IpAddress& address) const;
  bool contains(const IpPrefix& prefix) const;

  // The identity's addresses of a family, from now on in use: what it has, else a fresh one. Empty:
  // the pools are exhausted.
  std::vector<IpPrefix> acquire(Instant now, std::string_view identity, IpVersion version);
  // The identity is gone; its leases wait for it, or are free when they are not sticky.
  void release(Instant now, std::string_view identity);
  // Its addresses are free at once. False when it had none.
  bool remove(std::string_view identity);
  // A stored lease, absent as of `now`. False when it is not ours to give or somebody has it.
  bool load(Instant now, std::string_view identity, const IpPrefix& prefix);
  // Gives the identity these prefixes instead of what it has of their families. False, and nothing
  // is changed, when somebody else has one of them or it holds the gateway's own address.
  bool set(std::string_view identity, std::span<const IpPrefix> prefixes);
  // Prefixes that only acquire() must not give out: fixed addresses of the policy. Replaces the
  // list.
  void set_reserved(std::vector<IpPrefix> prefixes);

  std::vector<IpPrefix> leases(std::string_view identity) const;
  // Whose lease overlaps the prefix.
  std::optional<std::string> owner(const IpPrefix& prefix) const;
  // Identities whose leases changed since the last call, each once: they are to be stored.
  std::optional<std::string> poll_changed();

  uint64_t capacity(IpVersion version) const;  // leases that fit in all pools of a family
  size_t leased(IpVersion version) const;

 private:
  struct Pool {
    IpPrefix prefix;
    uint64_t first = 0;  // index of the first lease that may be given out
    uint64_t last = 0;   // and of the last one; first > last: none
    uint64_t next = 0;   // never given out from here on
    std::deque<uint64_t> freed;
  };
  struct Holder {
    std::vector<IpPrefix> prefixes;  // acquire() gives one of each family, set() any number
    std::optional<Instant> absent_since;
  };

  static Pool make_pool(const IpPrefix& prefix);
  static IpPrefix lease_at(const Pool& pool, uint64_t index);
  static std::optional<uint64_t> index_in(const Pool& pool, const IpPrefix& prefix);
  std::optional<IpPrefix> take_free(IpVersion version);
  std::optional<IpPrefix> take_from(Pool& pool);
  bool evict_one(Instant now, IpVersion version);
  void give(std::string_view identity, const IpPrefix& prefix);
  void take_back(const IpPrefix& prefix);
  bool is_own(const IpPrefix& prefix) const;
  bool is_taken(const IpPrefix& prefix) const { return owner(prefix).has_value(); }
  void mark_absent(const std::string& identity, Holder& holder, std::optional<Instant> since);
  void mark_changed(std::string_view identity);

  Options options_;
  std::vector<Pool> pools_;
  std::vector<IpAddress> own_;
  std::vector<IpPrefix> reserved_;
  std::unordered_map<std::string, Holder> holders_;
  std::map<IpPrefix, std::string> owners_;            // each lease has exactly one
  std::set<std::pair<Instant, std::string>> absent_;  // longest absent first
  std::deque<std::string> changed_;
  std::set<std::string, std::less<>> changed_set_;
};

}  // namespace masque
