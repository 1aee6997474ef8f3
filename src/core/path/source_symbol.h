// SPDX-License-Identifier: Apache-2.0
// What the erasure codes cover in place of a source packet: everything that the receiver needs to
// rebuild it (docs/wire.md).
//   first byte (1) | length of the rest (2) | sequence (2, low bits) | stamp (3) | rest
#pragma once

#include <array>
#include <optional>

#include "base/mutant.h"
#include "core/path/path_packet.h"

namespace masque {

constexpr size_t kSymbolHeadSize = 8;

struct SourceSymbol {
  uint8_t first_byte = 0;
  uint16_t sequence = 0;  // low 16 bits
  uint32_t stamp = 0;
  Bytes rest;  // after the masked header
};

inline std::array<uint8_t, kSymbolHeadSize> symbol_head(const SourceSymbol& source) {
  std::array<uint8_t, kSymbolHeadSize> out;
  out[0] = source.first_byte;
  store_be16(&out[1], static_cast<uint16_t>(source.rest.size()));
  store_be16(&out[3], source.sequence);
  out[5] = static_cast<uint8_t>(source.stamp >> 16);
  store_be16(&out[6], static_cast<uint16_t>(source.stamp));
  return out;
}

// nullopt: it was computed from wrong symbols.
inline std::optional<SourceSymbol> read_symbol(Bytes symbol) {
  if (symbol.size() < kSymbolHeadSize) return std::nullopt;
  const size_t length = load_be16(&symbol[1]);
  const uint32_t stamp = uint32_t{symbol[5]} << 16 | load_be16(&symbol[6]);
  // A QUIC packet: packet number, frames and tag; short header (RFC 9000 17.3).
  if (length < PathProtection::kSampleSize ||
      (length > symbol.size() - kSymbolHeadSize && !mutant("path.symbol.length.remove")) ||
      stamp >= PathStamp::kModulus ||
      ((symbol[0] & 0x80) != 0 && !mutant("path.symbol.long_header.remove"))) {
    return std::nullopt;
  }
  return SourceSymbol{.first_byte = symbol[0],
                      .sequence = load_be16(&symbol[3]),
                      .stamp = stamp,
                      .rest = symbol.subspan(kSymbolHeadSize, length)};
}

}  // namespace masque
