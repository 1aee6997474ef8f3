// SPDX-License-Identifier: Apache-2.0
#include "service/policy_builder.h"

#include <algorithm>

#include "base/mutant.h"
#include "service/pki/certificate.h"

namespace masque {

namespace {

// 32 bytes from the hexadecimal text of the database; nullopt when there is none.
std::optional<std::array<uint8_t, 32>> hash_of(const std::string& hex) {
  const auto bytes = from_hex(hex);
  if (!bytes || bytes->size() != 32) return std::nullopt;
  std::array<uint8_t, 32> out;
  std::ranges::copy(*bytes, out.begin());
  return out;
}

ClientPolicy policy_of(const User& user) {
  ClientPolicy out;
  out.enabled =
      user.revoked && !mutant("builder.revoked.remove") ? Permission::Deny : Permission::Allow;
  if (!user.policy.allowed.empty() && !mutant("builder.allowed.remove"))
    out.allowed_destinations = user.policy.allowed;
  if (!user.policy.routes.empty()) out.routes = user.policy.routes;
  out.reach_clients =
      user.policy.reach_clients == ClientReach::Allow || mutant("builder.reach.remove")
          ? Permission::Allow
          : Permission::Deny;
  out.reach_gateway =
      mutant("builder.gateway.remove") ? GatewayReach::All : user.policy.reach_gateway;
  out.own_subnets = user.policy.site_subnets;
  out.fixed_addresses = user.policy.addresses;
  if (mutant("builder.fingerprint.remove")) return out;
  if (const auto fingerprint = hash_of(user.fingerprint)) out.fingerprints.push_back(*fingerprint);
  return out;
}

// The certificate's names and addresses, and those that the configuration gives to clients.
std::vector<std::string> authorities_of(const ServerConfig& config) {
  std::vector<std::string> out;
  if (!config.server_name.empty()) out.push_back(config.server_name);
  if (!config.listen.address.is_any()) out.push_back(config.listen.address.to_string());
  if (const auto certificate = read_certificate(config.certificate.pem)) {
    out.insert(out.end(), certificate->dns_names.begin(), certificate->dns_names.end());
    out.insert(out.end(), certificate->addresses.begin(), certificate->addresses.end());
  }
  return out;
}

}  // namespace

std::unique_ptr<const PolicySnapshot> build_policy(const ServerConfig& config,
                                                   const UserDirectory& users,
                                                   const std::vector<IpPrefix>& host) {
  auto out = std::make_unique<PolicySnapshot>();
  out->default_routes = config.routes;
  if (config.unknown_users == ServerConfig::UnknownUsers::Admit || mutant("builder.unknown.remove"))
    out->unknown_clients = ClientPolicy{};
  for (const User& user : users.all()) {
    out->clients.emplace(user.name, policy_of(user));
    if (user.revoked && !mutant("builder.revoked_key.remove")) {
      if (const auto fingerprint = hash_of(user.fingerprint)) out->revoked.push_back(*fingerprint);
    } else if (const auto token = hash_of(user.token_hash)) {
      out->tokens.push_back({.hash = *token, .identity = user.name});
    }
  }
  if (!mutant("builder.host.remove")) out->gateway_addresses = host;
  if (!config.listen.address.is_any() && !mutant("builder.listen.remove"))
    out->gateway_addresses.push_back(IpPrefix::host(config.listen.address));
  if (!mutant("builder.authorities.remove")) out->authorities = authorities_of(config);
  return out;
}

TokenHash hash_token(Bytes token) { return *hash_of(sha256_hex(as_text(token))); }

}  // namespace masque
