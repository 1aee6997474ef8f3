// SPDX-License-Identifier: Apache-2.0
// Source NAT for the pool through nftables, in a table of our own, `inet masque_vpn_<tun>`: made in
// one transaction (a stale one of a crashed run is replaced), removed by the destructor. Nobody
// else's rules are touched; a forward policy of `drop` elsewhere stays the operator's to open.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"
#include "core/ip/address.h"

namespace masque {

struct NatOptions {
  std::string tun_name;
  std::vector<IpPrefix> sources;        // pool CIDRs to masquerade out of every other interface
  std::vector<std::string> interfaces;  // where packets leave; empty: any but the tunnel
  enum class ClampMss : uint8_t { No, ToRouteMtu } clamp_mss = ClampMss::No;
};

class Nat {
 public:
  static Result<Nat, SysError> create(const NatOptions& options);
  ~Nat();
  Nat(Nat&& other) noexcept;
  Nat& operator=(Nat&&) = delete;
  // For a run that wants no NAT: what a killed one left goes.
  static void remove_stale(const std::string& tun_name);
  // Replaces the rules in one transaction, for a reload.
  Result<void, SysError> replace(const NatOptions& options);

 private:
  explicit Nat(std::string table) : table_(std::move(table)) {}
  std::string table_;  // empty when moved from
};

// The table's name for an interface: characters that nftables refuses become '_'.
std::string nat_table_name(const std::string& tun_name);
// The transaction as nft text, for tests and `check`.
std::string nat_ruleset(const NatOptions& options);

}  // namespace masque
