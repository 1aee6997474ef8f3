// SPDX-License-Identifier: Apache-2.0
// The sliding-window decoder under any mixture of true and hostile symbols. With true symbols only,
// what it recovers is what was sent; with hostile ones it stays within its bounds.
#include <map>
#include <vector>

#include "core/fec/random_linear_code.h"

using namespace masque;

namespace {

constexpr size_t kSymbolSize = 8;
constexpr size_t kWindow = 16;

void honest(ByteReader& in) {
  RlcEncoder encoder(kSymbolSize, kWindow);
  RlcDecoder decoder(kSymbolSize, 256, 16);
  std::map<uint32_t, std::vector<uint8_t>> sent;
  const auto check = [&] {
    while (const auto recovered = decoder.poll_recovered()) {
      const std::vector<uint8_t> symbol(recovered->symbol.begin(), recovered->symbol.end());
      MASQUE_ASSERT(sent.at(recovered->esi) == symbol);
    }
  };
  while (const auto operation = in.u8()) {
    std::vector<uint8_t> symbol(kSymbolSize, *operation);
    if ((*operation & 3) == 3) {
      const auto id = encoder.make_repair(symbol, *operation >> 4, *operation >> 2 & 15);
      if (id && (*operation & 4) == 0) decoder.add_repair(*id, symbol);
    } else {
      symbol[0] = static_cast<uint8_t>(sent.size());
      const uint32_t esi = encoder.add(symbol);
      sent[esi] = symbol;
      if ((*operation & 3) != 0) decoder.add_source(esi, symbol);
    }
    check();
  }
}

void hostile(ByteReader& in) {
  RlcDecoder decoder(kSymbolSize, 256, 16);
  while (const auto operation = in.u8()) {
    if ((*operation & 1) == 0) {
      const auto esi = in.u32();
      const auto symbol = in.bytes(*operation >> 4);
      if (!esi || !symbol) return;
      decoder.add_source(*esi, *symbol);
    } else {
      const auto id = RlcRepairId::parse(in);
      const auto symbol = in.bytes((*operation & 2) == 0 ? kSymbolSize : *operation >> 4);
      if (!id || !symbol) return;
      decoder.add_repair(*id, *symbol);
    }
    while (decoder.poll_recovered()) {
    }
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  ByteReader in(Bytes(data, size));
  const auto mode = in.u8();
  if (!mode) return 0;
  (*mode & 1) == 0 ? honest(in) : hostile(in);
  return 0;
}
