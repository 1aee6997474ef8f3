// SPDX-License-Identifier: Apache-2.0
// The wanted state of a tunnel interface in the kernel's terms: a pure function, see
// interface_config.h for what it means. For the sources of host.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "host/interface_config.h"
#include "host/netlink.h"

namespace masque {

struct InterfacePlan {
  uint32_t mtu = 0;
  std::vector<InterfaceAddress> addresses;
  std::vector<Route> routes;
  // In the order in which they may be added without harm: the jump of marked packets before
  // anything that would catch them.
  std::vector<PolicyRule> rules;
  std::vector<IpAddress> covered;  // outer addresses inside of wanted routes
};

// Mark and rule priority of `options` are set.
InterfacePlan make_plan(const InterfaceState& wanted, const TunnelInterfaceOptions& options,
                        uint32_t interface);

// The first of kRulePriorities priorities, the same in every run for this interface name.
uint32_t tunnel_rule_priority(const std::string& interface_name);

}  // namespace masque
