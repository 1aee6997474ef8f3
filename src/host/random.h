// SPDX-License-Identifier: Apache-2.0
// The kernel's randomness (getrandom) as an Rng. Small requests are served from a buffer whose
// bytes are wiped as they are handed out. A failing getrandom is not survivable and ends the
// process.
#pragma once

#include <array>

#include "base/rng.h"

namespace masque {

class KernelRng final : public Rng {
 public:
  KernelRng() = default;
  KernelRng(const KernelRng&) = delete;
  KernelRng& operator=(const KernelRng&) = delete;
  ~KernelRng() override;
  void fill(std::span<uint8_t> out) override;

 private:
  static constexpr size_t kBufferBytes = 512;
  std::array<uint8_t, kBufferBytes> buffer_{};
  size_t left_ = 0;  // unused bytes, at the end of the buffer
};

}  // namespace masque
