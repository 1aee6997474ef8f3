// SPDX-License-Identifier: Apache-2.0
#include "core/fec/source_unit.h"

#include <algorithm>

namespace masque {

void write_source_unit(uint8_t flow, Bytes packet, MutableBytes out) {
  MASQUE_ASSERT(packet.size() <= UINT16_MAX && out.size() >= packet.size() + kSourceUnitOverhead);
  out[0] = flow;
  store_be16(&out[1], static_cast<uint16_t>(packet.size()));
  std::ranges::copy(packet, out.begin() + kSourceUnitOverhead);
  std::ranges::fill(out.subspan(kSourceUnitOverhead + packet.size()), uint8_t{0});
}

std::optional<SourceUnit> read_source_unit(Bytes block) {
  if (block.size() < kSourceUnitOverhead) return std::nullopt;
  const size_t length = load_be16(&block[1]);
  if (length > block.size() - kSourceUnitOverhead) return std::nullopt;
  return SourceUnit{.flow = block[0], .packet = block.subspan(kSourceUnitOverhead, length)};
}

}  // namespace masque
