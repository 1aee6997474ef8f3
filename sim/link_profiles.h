// SPDX-License-Identifier: Apache-2.0
// Links by name, for the simulator and for masque-linkemu: what people meet, in numbers. The .cc
// says where each number comes from.
#pragma once

#include <span>
#include <string_view>

#include "sim/link_plan.h"

namespace masque {

struct LinkProfile {
  std::string_view name;
  std::string_view summary;
  LinkPlan up;  // from the client to the network
  LinkPlan down;
};

std::span<const LinkProfile> link_profiles();  // in the order in which they are shown
const LinkProfile* find_link_profile(std::string_view name);  // nullptr: there is none

// Chance of each packet to begin a burst, so that `share_ppm` of all packets are lost in bursts of
// which each further packet is the last with `leave_ppm`.
uint32_t burst_enter_ppm(uint32_t share_ppm, uint32_t leave_ppm);

}  // namespace masque
