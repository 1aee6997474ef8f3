// SPDX-License-Identifier: Apache-2.0
#include "core/fec/erasure_code.h"

#include <algorithm>
#include <array>
#include <iterator>
#include <utility>

#include "base/assert.h"
#include "core/fec/reed_solomon.h"

namespace masque {

namespace {

constexpr ErasureCode kCodes[] = {ErasureCode::Xor, ErasureCode::ReedSolomon,
                                  ErasureCode::SlidingWindow};

// Made when the first block is coded; about 10 KiB in all.
const ReedSolomon& block_code(size_t index) {
  static const std::array<ReedSolomon, std::size(kBlockSizes)> codes{
      ReedSolomon(kBlockSizes[0], kBlockSizes[0] + kBlockRepairsMax),
      ReedSolomon(kBlockSizes[1], kBlockSizes[1] + kBlockRepairsMax),
      ReedSolomon(kBlockSizes[2], kBlockSizes[2] + kBlockRepairsMax),
      ReedSolomon(kBlockSizes[3], kBlockSizes[3] + kBlockRepairsMax),
      ReedSolomon(kBlockSizes[4], kBlockSizes[4] + kBlockRepairsMax),
  };
  return codes[index];
}

}  // namespace

std::string_view to_string(ErasureCode code) {
  switch (code) {
    case ErasureCode::Xor:
      return "xor";
    case ErasureCode::ReedSolomon:
      return "reed-solomon";
    case ErasureCode::SlidingWindow:
      return "sliding-window";
  }
  return "unknown";  // a number of the peer's
}

std::optional<ErasureCode> parse_erasure_code(std::string_view name) {
  for (const ErasureCode code : kCodes) {
    if (name == to_string(code)) return code;
  }
  return std::nullopt;
}

std::optional<uint8_t> block_size_index(size_t count) {
  for (size_t i = 0; i < std::size(kBlockSizes); ++i) {
    if (count <= kBlockSizes[i]) return static_cast<uint8_t>(i);
  }
  return std::nullopt;
}

bool RepairId::valid() const {
  if (count == 0) return false;
  switch (code) {
    case ErasureCode::Xor:
      return key == 0;
    case ErasureCode::ReedSolomon: {
      const size_t size_index = key >> 8;
      return size_index < std::size(kBlockSizes) && count <= kBlockSizes[size_index] &&
             (key & 0xff) < kBlockRepairsMax;
    }
    case ErasureCode::SlidingWindow:
      return true;
  }
  return false;
}

Bytes RepairCoefficients::of(const RepairId& id) {
  static constexpr auto kOnes = [] {
    std::array<uint8_t, kRepairSourcesMax> ones;
    ones.fill(1);
    return ones;
  }();
  MASQUE_ASSERT(id.valid());
  switch (id.code) {
    case ErasureCode::Xor:
      return Bytes(kOnes).first(id.count);
    case ErasureCode::ReedSolomon: {
      const ReedSolomon& code = block_code(id.key >> 8);
      return code.column(code.k() + (id.key & 0xff)).first(id.count);
    }
    case ErasureCode::SlidingWindow:
      return sliding_window_.row(id.key).first(id.count);
  }
  std::unreachable();
}

}  // namespace masque
