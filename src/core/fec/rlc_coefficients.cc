// SPDX-License-Identifier: Apache-2.0
#include "core/fec/rlc_coefficients.h"

#include "core/fec/tinymt32.h"

namespace masque {

void rlc_coefficients(uint16_t repair_key, uint8_t density_threshold, std::span<uint8_t> out) {
  TinyMt32 generator(repair_key);
  for (uint8_t& coefficient : out) {
    coefficient = 0;
    if (density_threshold < 15 && generator.rand16() > density_threshold) continue;
    do {
      coefficient = generator.rand256();
    } while (coefficient == 0);
  }
}

}  // namespace masque
