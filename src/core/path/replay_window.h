// SPDX-License-Identifier: Apache-2.0
// Numbers of which each is taken once, in about their order, as in RFC 4303 3.4.3: one that is 64
// or more behind the newest counts as taken.
#pragma once

#include <cstdint>

namespace masque {

class ReplayWindow {
 public:
  // True: for the first time.
  bool accept(uint64_t number) {
    if (number > newest_ || seen_ == 0) {
      const uint64_t step = number - newest_;
      seen_ = step < kSize ? seen_ << step | 1 : 1;
      newest_ = number;
      return true;
    }
    if (newest_ - number >= kSize) return false;
    const uint64_t bit = uint64_t{1} << (newest_ - number);
    const bool first = (seen_ & bit) == 0;
    seen_ |= bit;
    return first;
  }

 private:
  static constexpr uint64_t kSize = 64;
  uint64_t newest_ = 0;
  uint64_t seen_ = 0;  // bit n: newest_ - n was; 0: none yet
};

}  // namespace masque
