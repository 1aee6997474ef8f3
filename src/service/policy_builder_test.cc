// SPDX-License-Identifier: Apache-2.0
#include "service/policy_builder.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "service/pki/certificate.h"

namespace masque {
namespace {

IpPrefix net(std::string_view text) { return *IpPrefix::parse(text); }

const std::string kKey = sha256_hex("key");
const std::string kToken = sha256_hex("mvpn_secret");

User user(std::string name) {
  return {.name = std::move(name),
          .fingerprint = kKey,
          .token_hash = kToken,
          .created = 1,
          .revoked = {},
          .policy = {}};
}

ServerConfig config() {
  ServerConfig out;
  out.listen = *SocketAddress::parse("192.0.2.1:4433");
  out.routes = {net("10.8.0.0/24")};
  out.unknown_users = ServerConfig::UnknownUsers::Refuse;
  return out;
}

std::unique_ptr<const PolicySnapshot> policy_of(User one, const ServerConfig& with = config()) {
  return build_policy(with, UserDirectory({std::move(one)}), {});
}

Fingerprint as_fingerprint(std::string_view hex) {
  Fingerprint out{};
  std::ranges::copy(from_hex(hex).value(), out.begin());
  return out;
}

TEST(PolicyBuilder, a_user_may_what_the_database_says_and_no_more) {
  User anna = user("anna");
  anna.policy = {.allowed = {net("192.0.2.0/24")},
                 .addresses = {net("10.8.0.9/32")},
                 .routes = {net("198.51.100.0/24")},
                 .site_subnets = {net("192.168.7.0/24")},
                 .reach_clients = ClientReach::Allow,
                 .reach_gateway = GatewayReach::Ping};
  const auto policy = policy_of(anna);
  const ClientPolicy* client = policy->find("anna");
  ASSERT_NE(client, nullptr);
  EXPECT_EQ(client->enabled, Permission::Allow);
  EXPECT_EQ(client->allowed_destinations, std::vector{net("192.0.2.0/24")});
  EXPECT_EQ(client->routes, std::vector{net("198.51.100.0/24")});
  EXPECT_EQ(client->fixed_addresses, std::vector{net("10.8.0.9/32")});
  EXPECT_EQ(client->own_subnets, std::vector{net("192.168.7.0/24")});
  EXPECT_EQ(client->reach_clients, Permission::Allow);
  EXPECT_EQ(client->reach_gateway, GatewayReach::Ping);
  EXPECT_EQ(client->fingerprints, std::vector{as_fingerprint(kKey)});
  EXPECT_EQ(policy->identity_of(hash_token(as_bytes("mvpn_secret"))), "anna");
  EXPECT_FALSE(policy->identity_of(hash_token(as_bytes("mvpn_other"))));
}

TEST(PolicyBuilder, the_defaults_are_the_closed_ones) {
  const auto policy = policy_of(user("anna"));
  const ClientPolicy* client = policy->find("anna");
  ASSERT_NE(client, nullptr);
  EXPECT_EQ(client->reach_clients, Permission::Deny);
  EXPECT_EQ(client->reach_gateway, GatewayReach::Tunnel);
  EXPECT_TRUE(client->own_subnets.empty());
  EXPECT_FALSE(client->allowed_destinations);  // what is advertised to it
  EXPECT_EQ(policy->routes_for(*client), std::vector{net("10.8.0.0/24")});
  EXPECT_EQ(policy->find("nobody"), nullptr);
}

TEST(PolicyBuilder, a_revoked_user_is_disabled_with_key_and_token) {
  User anna = user("anna");
  anna.revoked = 2;
  const auto policy = policy_of(anna);
  EXPECT_EQ(policy->find("anna")->enabled, Permission::Deny);
  EXPECT_TRUE(policy->is_revoked(as_fingerprint(kKey)));
  EXPECT_FALSE(policy->identity_of(hash_token(as_bytes("mvpn_secret"))));
  EXPECT_FALSE(policy_of(user("anna"))->is_revoked(as_fingerprint(kKey)));
}

TEST(PolicyBuilder, unknown_users_come_in_only_where_the_configuration_says_so) {
  ServerConfig open = config();
  open.unknown_users = ServerConfig::UnknownUsers::Admit;
  const auto policy = policy_of(user("anna"), open);
  ASSERT_NE(policy->find("nobody"), nullptr);
  EXPECT_EQ(policy->find("nobody")->reach_clients, Permission::Deny);
}

// RFC 9298 7: the gateway trusts itself by its own addresses.
TEST(PolicyBuilder, the_hosts_addresses_are_the_gateways) {
  const std::vector<IpPrefix> host{net("10.77.0.1/32"), net("2001:db8:2::2/128")};
  const UserDirectory users({user("anna")});
  EXPECT_EQ(build_policy(config(), users, host)->gateway_addresses,
            (std::vector{net("10.77.0.1/32"), net("2001:db8:2::2/128"), net("192.0.2.1/32")}));
  ServerConfig anywhere = config();
  anywhere.listen = *SocketAddress::parse("0.0.0.0:4433");
  EXPECT_EQ(build_policy(anywhere, users, host)->gateway_addresses, host);
}

// RFC 9110 7.4: what the certificate is valid for, and what clients are told to dial.
TEST(PolicyBuilder, authorities_are_the_names_of_certificate_and_configuration) {
  ServerConfig named = config();
  named.server_name = "vpn.example";
  EXPECT_EQ(policy_of(user("anna"), named)->authorities,
            (std::vector<std::string>{"vpn.example", "192.0.2.1"}));
  named.listen = *SocketAddress::parse("[::]:4433");
  const auto ca = make_ca("CA");
  ASSERT_TRUE(ca);
  const auto certificate =
      make_server_certificate(*ca, {"vpn.example", "*.vpn.example", "203.0.113.9", "2001:db8::9"});
  ASSERT_TRUE(certificate) << certificate.error();
  named.certificate.pem = certificate->certificate_pem;
  EXPECT_EQ(policy_of(user("anna"), named)->authorities,
            (std::vector<std::string>{"vpn.example", "vpn.example", "*.vpn.example", "203.0.113.9",
                                      "2001:db8::9"}));
}

}  // namespace
}  // namespace masque
