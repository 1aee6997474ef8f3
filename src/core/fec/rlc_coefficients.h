// SPDX-License-Identifier: Apache-2.0
// The coefficients of the sliding-window random linear code, RFC 8681 3.6.
#pragma once

#include <cstdint>
#include <span>

namespace masque {

// One coefficient for each source symbol of a repair with this key. A density threshold below 15
// makes some of them zero: (threshold + 1) / 16 are not.
void rlc_coefficients(uint16_t repair_key, uint8_t density_threshold, std::span<uint8_t> out);

}  // namespace masque
