// SPDX-License-Identifier: Apache-2.0
// What the three erasure codes have in common: a repair symbol is the sum of `count` consecutive
// source symbols, each multiplied by a coefficient in GF(2^8). Only the coefficients differ:
//   xor             all ones;
//   reed-solomon    a repair column of the generator matrix of RFC 5510 8.2-8.4 for blocks of k
//                   symbols; a shorter last block stands for one that ends in zero symbols;
//   sliding-window  TinyMT32 seeded with the repair key, density 15 (RFC 8681 3.6, RFC 8682).
// Symbols have different lengths: a shorter one counts as followed by zeros.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "base/bytes.h"
#include "core/fec/rlc_coefficients.h"

namespace masque {

enum class ErasureCode : uint8_t { Xor = 1, ReedSolomon = 2, SlidingWindow = 3 };

// "xor", "reed-solomon", "sliding-window"
std::string_view to_string(ErasureCode code);
std::optional<ErasureCode> parse_erasure_code(std::string_view name);

constexpr size_t kRepairSourcesMax = 255;
// Reed-Solomon: the block sizes there are, and how many repair symbols a block may have.
constexpr uint8_t kBlockSizes[] = {4, 8, 16, 32, 64};
constexpr size_t kBlockRepairsMax = 32;
// The index in kBlockSizes of the smallest block that holds `count` symbols; nullopt above 64.
std::optional<uint8_t> block_size_index(size_t count);

// What a repair symbol covers. Everything in it may come from the peer: valid() first.
struct RepairId {
  ErasureCode code = ErasureCode::SlidingWindow;
  uint32_t first = 0;  // ESI of the first source symbol; ESIs wrap
  uint8_t count = 0;   // consecutive source symbols
  // SlidingWindow: the repair key. ReedSolomon: index in kBlockSizes << 8 | repair index. Xor: 0.
  uint16_t key = 0;

  bool valid() const;
  uint32_t end() const { return first + count; }  // ESI after the last
  friend bool operator==(const RepairId&, const RepairId&) = default;
};

// The coefficients of a valid id: id.count bytes, none of them zero, valid until the next call.
class RepairCoefficients {
 public:
  Bytes of(const RepairId& id);

 private:
  RlcCoefficientCache sliding_window_;
};

}  // namespace masque
