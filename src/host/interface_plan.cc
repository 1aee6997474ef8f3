// SPDX-License-Identifier: Apache-2.0
#include "host/interface_plan.h"

#include <algorithm>
#include <array>
#include <optional>

namespace masque {
namespace {

constexpr std::array kVersions = {IpVersion::V4, IpVersion::V6};
constexpr uint32_t kMarkPrefix = 0x4d510000;   // "MQ"; the low half comes from the name
constexpr uint32_t kFirstRulePriority = 5000;  // after the local table (0), before main (32766)
constexpr uint32_t kRuleWindows = 96;

uint32_t hash_of(const std::string& name) {
  uint32_t hash = 2166136261;  // FNV-1a
  for (const char c : name) hash = (hash ^ static_cast<uint8_t>(c)) * 16777619;
  return hash ^ hash >> 16;
}

bool covers_any(const IpPrefix& prefix, const std::vector<IpAddress>& addresses) {
  return std::ranges::any_of(addresses,
                             [&](const IpAddress& address) { return prefix.contains(address); });
}

template <class T>
std::vector<T> sorted_set(std::vector<T> items) {
  std::ranges::sort(items);
  items.erase(std::ranges::unique(items).begin(), items.end());
  return items;
}

std::vector<PolicyRule> make_rules(const std::vector<IpPrefix>& covering,
                                   const TunnelInterfaceOptions& options) {
  std::vector<PolicyRule> rules;
  const uint32_t end = options.rule_priority + kRulePriorities - 1;
  for (const IpVersion version : kVersions) {
    const auto of_version = [version](const IpPrefix& prefix) {
      return prefix.version() == version;
    };
    if (std::ranges::none_of(covering, of_version)) continue;
    rules.push_back({.version = version, .priority = end, .action = PolicyRule::Action::Nothing});
    rules.push_back({.version = version,
                     .priority = options.rule_priority,
                     .action = PolicyRule::Action::Goto,
                     .target = end,
                     .mark = options.mark});
  }
  for (const IpPrefix& prefix : covering) {
    // Longer prefixes come first, each with two priorities: the longest prefix wins, as in a table.
    const uint32_t priority =
        options.rule_priority + 1 + 2u * (address_bits(prefix.version()) - prefix.length());
    const std::optional<IpPrefix> to = prefix.length() == 0 ? std::nullopt : std::optional(prefix);
    rules.push_back({.version = prefix.version(),
                     .priority = priority,
                     .table = kMainTable,
                     .destination = to,
                     .suppress_prefix_length = prefix.length()});
    rules.push_back({.version = prefix.version(),
                     .priority = priority + 1,
                     .table = options.mark,
                     .destination = to});
  }
  return rules;
}

}  // namespace

uint32_t tunnel_mark(const std::string& interface_name) {
  return kMarkPrefix | (hash_of(interface_name) & 0xffff);
}

uint32_t tunnel_rule_priority(const std::string& interface_name) {
  return kFirstRulePriority + hash_of(interface_name) % kRuleWindows * kRulePriorities;
}

InterfacePlan make_plan(const InterfaceState& wanted, const TunnelInterfaceOptions& options,
                        uint32_t interface) {
  InterfacePlan plan{.mtu = wanted.mtu, .addresses = sorted_set(wanted.addresses)};
  std::vector<IpPrefix> covering;
  for (const IpPrefix& prefix : sorted_set(wanted.routes)) {
    // A default route meets the host's own one, which may not be touched: by a table of its own it
    // wins, also in the version that the outer packets do not use.
    const bool covers = prefix.length() == 0 || covers_any(prefix, wanted.outer);
    if (covers) covering.push_back(prefix);
    plan.routes.push_back({.destination = prefix,
                           .interface = interface,
                           .table = covers ? options.mark : kMainTable,
                           .metric = covers ? 0 : options.metric});
  }
  for (const IpAddress& address : wanted.outer) {
    const auto contains = [&](const IpPrefix& prefix) { return prefix.contains(address); };
    if (std::ranges::any_of(covering, contains)) plan.covered.push_back(address);
  }
  plan.rules = make_rules(covering, options);
  return plan;
}

}  // namespace masque
