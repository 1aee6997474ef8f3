// SPDX-License-Identifier: Apache-2.0
// Who may do what: an immutable snapshot that the control plane builds and the gateway swaps whole,
// so that no packet is ever decided by a half-written policy.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/bytes.h"
#include "core/ip/address.h"

namespace masque {

enum class Permission : uint8_t { Deny, Allow };

// What of the gateway itself a client may send to; each value allows what the one before does.
enum class GatewayReach : uint8_t {
  None,
  Ping,    // its inner addresses, by ICMP alone
  Tunnel,  // its inner addresses: ping, a DNS server, whatever listens there
  All,     // every address of the host that is routed into the tunnel
};
// As the operator writes it.
constexpr std::array<std::string_view, 4> kGatewayReachNames = {"no", "ping", "tunnel", "all"};
std::string_view to_string(GatewayReach reach);
std::optional<GatewayReach> parse_gateway_reach(std::string_view text);

using Fingerprint = std::array<uint8_t, 32>;  // SHA-256 of a certificate's SubjectPublicKeyInfo
using TokenHash = std::array<uint8_t, 32>;    // SHA-256 of a bearer token; tokens are never stored

struct ClientPolicy {
  Permission enabled = Permission::Allow;
  // What the client may send to; nullopt: what is advertised to it.
  std::optional<std::vector<IpPrefix>> allowed_destinations;
  // What is advertised to it; nullopt: the snapshot's default_routes.
  std::optional<std::vector<IpPrefix>> routes;
  // Traffic between two clients flows when both of them have this.
  Permission reach_clients = Permission::Deny;
  GatewayReach reach_gateway = GatewayReach::Tunnel;
  // Site-to-site: the subnets this client may advertise to us and send from.
  std::vector<IpPrefix> own_subnets;
  // Instead of addresses from the pool, one family or both.
  std::vector<IpPrefix> fixed_addresses;
  // Certificates that stand for this identity; empty: any certificate of our CA with its name.
  std::vector<Fingerprint> fingerprints;
};

struct TokenEntry {
  TokenHash hash{};
  std::string identity;
};

struct PolicySnapshot {
  std::vector<IpPrefix> default_routes;
  std::unordered_map<std::string, ClientPolicy> clients;
  // For certificates of our CA whose name is not in `clients`; nullopt: refuse them.
  std::optional<ClientPolicy> unknown_clients;
  std::vector<TokenEntry> tokens;
  std::vector<Fingerprint> revoked;
  // What the gateway's host takes for itself outside the tunnel: its addresses, broadcast ones too.
  // Who trusts the host would trust a client that reaches it there (RFC 9298 7), so only
  // GatewayReach::All may.
  std::vector<IpPrefix> gateway_addresses;
  // Hosts of :authority that are ours, as a certificate names them; empty: any. The address that a
  // client has dialled is always one.
  std::vector<std::string> authorities;

  // Null when the identity is unknown and unknown ones are refused. Disabled ones are returned.
  const ClientPolicy* find(std::string_view identity) const;
  // The identity of a bearer token; compares with every entry in constant time.
  std::optional<std::string> identity_of(const TokenHash& hash) const;
  bool is_revoked(const Fingerprint& fingerprint) const;
  const std::vector<IpPrefix>& routes_for(const ClientPolicy& client) const {
    return client.routes ? *client.routes : default_routes;
  }
};

// Equal time whatever the difference.
bool equal_constant_time(Bytes a, Bytes b);

}  // namespace masque
