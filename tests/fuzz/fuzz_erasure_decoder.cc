// SPDX-License-Identifier: Apache-2.0
// The erasure decoder under anything a peer can send: any ids, any symbols, ESIs anywhere. It must
// stay within its bounds, and what it says of itself must hold.
#include "core/fec/erasure_decoder.h"
#include "tests/fuzz/fuzz_input.h"

using namespace masque;

namespace {

constexpr size_t kSymbolSize = 70;  // more than a vector
constexpr size_t kEquations = 12;

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  FuzzInput in(data, size);
  ErasureDecoder decoder(kSymbolSize, 255, kEquations);
  uint32_t base = in.u32();
  while (!in.empty()) {
    const uint8_t operation = in.u8();
    // Mostly near the last one: far away nothing meets.
    const uint32_t esi = (operation & 0x80) != 0 ? in.u32() : base + in.u8() - 128;
    if ((operation & 0x40) != 0) base = esi;
    const size_t length = in.u8() % (kSymbolSize + 2);
    switch (operation & 3) {
      case 0:
        decoder.add_source(esi, in.take(length / 2), in.take(length - length / 2));
        break;
      case 1:
      case 2: {
        const RepairId id{.code = static_cast<ErasureCode>(operation >> 2 & 7),
                          .first = esi,
                          .count = in.u8(),
                          .key = in.u16()};
        decoder.add_repair(id, in.take(length));
        break;
      }
      default:
        (operation & 4) == 0 ? decoder.forget_before(esi) : decoder.expect_from(esi);
        break;
    }
    MASQUE_ASSERT(decoder.equations() <= kEquations);
    while (const auto recovered = decoder.poll_recovered()) {
      MASQUE_ASSERT(decoder.has(recovered->esi));
      MASQUE_ASSERT(!recovered->symbol.empty() && recovered->symbol.size() <= kSymbolSize);
    }
    MASQUE_ASSERT(decoder.counters().recovered <= decoder.counters().repairs);
  }
  return 0;
}
