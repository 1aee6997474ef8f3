// SPDX-License-Identifier: Apache-2.0
#include "core/quic/null_path_protection.h"

#include <algorithm>
#include <cstring>

namespace masque {

namespace {

uint64_t stir(uint64_t sum, uint64_t value) {
  sum = (sum ^ value) * 0x9e3779b97f4a7c15;
  return sum ^ sum >> 29;
}

uint64_t sum_of(uint64_t sum, Bytes bytes) {
  for (; bytes.size() >= 8; bytes = bytes.subspan(8)) {
    uint64_t word = 0;
    std::memcpy(&word, bytes.data(), sizeof(word));
    sum = stir(sum, word);
  }
  for (const uint8_t byte : bytes) sum = stir(sum, byte);
  return stir(sum, 1);
}

class NullPathProtection final : public PathProtection {
 public:
  explicit NullPathProtection(uint64_t key) : key_(key) {}

  void mask(std::span<const uint8_t, kSampleSize> sample,
            std::span<uint8_t, kMaskSize> out) override {
    const uint64_t low = sum_of(key_, sample);
    const uint64_t high = stir(low, key_);
    std::memcpy(out.data(), &low, 8);
    std::memcpy(out.data() + 8, &high, 8);
  }
  uint32_t check(std::span<const uint8_t, kBlockSize> block) override {
    return static_cast<uint32_t>(sum_of(stir(key_, 3), block) >> 40);
  }
  uint64_t tag(Bytes first, Bytes second) override { return sum_of(sum_of(key_, first), second); }
  bool seal(Bytes associated, Bytes plain, MutableBytes out) override {
    const uint64_t sum = tag(associated, plain);
    std::ranges::copy(plain, out.begin());
    std::memcpy(out.last(16).data(), &sum, 8);
    std::memcpy(out.last(8).data(), &sum, 8);
    return true;
  }
  bool open(Bytes associated, Bytes sealed, MutableBytes out) override {
    std::ranges::copy(sealed.first(out.size()), out.begin());
    const uint64_t sum = tag(associated, out);
    return std::memcmp(sealed.last(16).data(), &sum, 8) == 0 &&
           std::memcmp(sealed.last(8).data(), &sum, 8) == 0;
  }

 private:
  uint64_t key_;
};

}  // namespace

std::unique_ptr<PathProtection> make_null_path_protection(Bytes secret) {
  return std::make_unique<NullPathProtection>(sum_of(0, secret));
}

}  // namespace masque
