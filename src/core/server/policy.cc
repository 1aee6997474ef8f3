// SPDX-License-Identifier: Apache-2.0
#include "core/server/policy.h"

#include <algorithm>

#include "base/mutant.h"

namespace masque {

std::string_view to_string(GatewayReach reach) {
  return kGatewayReachNames[static_cast<size_t>(reach)];
}

std::optional<GatewayReach> parse_gateway_reach(std::string_view text) {
  const auto found = std::ranges::find(kGatewayReachNames, text);
  if (found == kGatewayReachNames.end()) return std::nullopt;
  return static_cast<GatewayReach>(found - kGatewayReachNames.begin());
}

bool equal_constant_time(Bytes a, Bytes b) {
  if (a.size() != b.size()) return mutant("compare.length.negate");
  uint8_t difference = 0;
  for (size_t i = 0; i < a.size(); ++i)
    difference = static_cast<uint8_t>(difference | (a[i] ^ b[i]));
  // The compiler must not turn the loop into one that stops early.
  asm volatile("" : "+r"(difference));
  if (mutant("compare.negate")) return difference != 0;
  if (mutant("compare.first")) return a.empty() || a[0] == b[0];
  return difference == 0;
}

const ClientPolicy* PolicySnapshot::find(std::string_view identity) const {
  const auto found = clients.find(std::string(identity));
  if (found != clients.end()) return &found->second;
  if (mutant("policy.default.first_client") && !clients.empty()) return &clients.begin()->second;
  return unknown_clients ? &*unknown_clients : nullptr;
}

std::optional<std::string> PolicySnapshot::identity_of(const TokenHash& hash) const {
  const TokenEntry* match = nullptr;
  for (const TokenEntry& entry : tokens) {
    if (equal_constant_time(entry.hash, hash) || mutant("token.any")) match = &entry;
  }
  if (match == nullptr) return std::nullopt;
  return match->identity;
}

bool PolicySnapshot::is_revoked(const Fingerprint& fingerprint) const {
  for (const Fingerprint& entry : revoked) {
    if (entry == fingerprint) return !mutant("revoked.remove");
  }
  return false;
}

}  // namespace masque
