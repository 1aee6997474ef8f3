// SPDX-License-Identifier: Apache-2.0
// The ADU information block that is coded in place of a packet (RFC 6865 4.3, RFC 8681 3.2): Flow
// ID (8) | length (16) | packet | zero padding. The three bytes and the padding are coded but never
// sent, so that a recovered packet has its length again.
#pragma once

#include <cstdint>
#include <optional>

#include "base/bytes.h"

namespace masque {

constexpr size_t kSourceUnitOverhead = 3;

// Writes the block over the whole of `out`, which holds at least packet.size() + 3 bytes.
void write_source_unit(uint8_t flow, Bytes packet, MutableBytes out);

struct SourceUnit {
  uint8_t flow = 0;
  Bytes packet;
};
// nullopt: the length does not fit the block, so the block was recovered from wrong symbols.
std::optional<SourceUnit> read_source_unit(Bytes block);

}  // namespace masque
