// SPDX-License-Identifier: Apache-2.0
// True symbols in any order, with any losses and any mixture of codes: what the decoder recovers is
// what was sent, and nothing that a slow matrix of everything could not give.
#include "core/fec/erasure_decoder.h"
#include "core/fec/erasure_encoder.h"
#include "core/fec/erasure_test_support.h"
#include "tests/fuzz/fuzz_input.h"

using namespace masque;
using test::Symbol;
using test::Symbols;

namespace {

constexpr size_t kSymbolSize = 24;
constexpr size_t kSourcesMax = 200;  // all stay in the window: nothing may be given up

class Run {
 public:
  explicit Run(uint32_t base) : base_(base) {}

  void send(FuzzInput& in, bool lost) {
    if (sent_.size() == kSourcesMax) return;
    Symbol symbol(1 + in.u8() % kSymbolSize, in.u8());
    symbol.front() = static_cast<uint8_t>(sent_.size());
    symbol.back() |= 1;
    const uint32_t esi = base_ + encoder_.add(symbol, {});
    sent_[esi] = symbol;
    if (!lost) arrive(esi);
    if (lost) late_.push_back(esi);
  }
  void arrive(uint32_t esi) {
    decoder_.add_source(esi, sent_.at(esi), {});
    reference_.add_source(esi, sent_.at(esi));
    check();
  }
  void arrive_late(uint8_t which) {
    if (late_.empty()) return;
    const auto at = late_.begin() + which % static_cast<ptrdiff_t>(late_.size());
    const uint32_t esi = *at;
    late_.erase(at);
    arrive(esi);
  }
  void repair(FuzzInput& in, ErasureCode code) {
    if (encoder_.kept() == 0 || repairs_ == ErasureDecoder::kEquationsLimit) return;
    const size_t count = 1 + in.u8() % encoder_.kept();
    const uint32_t newest = encoder_.next_source();
    const auto oldest = newest - static_cast<uint32_t>(count);
    RepairId id = encoder_.sliding(count);
    if (code == ErasureCode::Xor) id = ErasureEncoder::xor_parity(oldest, count);
    const auto block = block_size_index(count);
    if (code == ErasureCode::ReedSolomon && block) {
      id = ErasureEncoder::reed_solomon(oldest, count, kBlockSizes[*block],
                                        in.u8() % kBlockRepairsMax);
    }
    Symbol symbol(kSymbolSize);
    symbol.resize(encoder_.make_repair(id, symbol));
    MASQUE_ASSERT(!symbol.empty());
    id.first += base_;
    ++repairs_;
    decoder_.add_repair(id, symbol);
    reference_.add_repair(id, symbol);
    check();
  }
  void expect_from(uint8_t offset) {
    decoder_.expect_from(base_ + offset);
    check();
  }
  // Whatever is known is what the matrix of everything gives.
  void finish() {
    const Symbols solved = reference_.solve();
    for (const uint32_t esi : recovered_) MASQUE_ASSERT(solved.contains(esi) || !lost_still(esi));
  }

 private:
  bool lost_still(uint32_t esi) const { return std::ranges::find(late_, esi) != late_.end(); }
  void check() {
    while (const auto recovered = decoder_.poll_recovered()) {
      const Symbol symbol(recovered->symbol.begin(), recovered->symbol.end());
      MASQUE_ASSERT(test::without_padding(symbol) == sent_.at(recovered->esi));
      recovered_.insert(recovered->esi);
    }
  }

  uint32_t base_;
  size_t repairs_ = 0;
  ErasureEncoder encoder_{kSymbolSize, 255};
  ErasureDecoder decoder_{kSymbolSize, 256, ErasureDecoder::kEquationsLimit};
  test::ReferenceDecoder reference_;
  Symbols sent_;
  std::vector<uint32_t> late_;  // lost, or on their way
  std::set<uint32_t> recovered_;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  FuzzInput in(data, size);
  Run run(in.u32());
  while (!in.empty()) {
    const uint8_t operation = in.u8();
    switch (operation & 7) {
      case 0:
      case 1:
      case 2:
        run.send(in, (operation & 0x80) != 0);
        break;
      case 3:
        run.arrive_late(operation >> 3);
        break;
      case 4:
        run.repair(in, ErasureCode::Xor);
        break;
      case 5:
        run.repair(in, ErasureCode::ReedSolomon);
        break;
      case 6:
        run.expect_from(in.u8());
        break;
      default:
        run.repair(in, ErasureCode::SlidingWindow);
        break;
    }
  }
  run.finish();
  return 0;
}
