// SPDX-License-Identifier: Apache-2.0
#include "host/random.h"

#include <string.h>  // explicit_bzero
#include <sys/random.h>

#include <cerrno>

#include "base/assert.h"

namespace masque {
namespace {

void fill_from_kernel(std::span<uint8_t> out) {
  while (!out.empty()) {
    const ssize_t count = ::getrandom(out.data(), out.size(), 0);
    if (count < 0 && errno == EINTR) continue;
    MASQUE_ASSERT(count > 0);  // without randomness there are no keys: stop here
    out = out.subspan(static_cast<size_t>(count));
  }
}

}  // namespace

KernelRng::~KernelRng() { ::explicit_bzero(buffer_.data(), buffer_.size()); }

void KernelRng::fill(std::span<uint8_t> out) {
  if (out.size() > buffer_.size() / 4) return fill_from_kernel(out);
  if (out.size() > left_) {
    fill_from_kernel(buffer_);
    left_ = buffer_.size();
  }
  const std::span<uint8_t> piece = std::span(buffer_).last(left_).first(out.size());
  if (!out.empty()) ::memcpy(out.data(), piece.data(), piece.size());
  ::explicit_bzero(piece.data(), piece.size());  // what was handed out is nowhere else
  left_ -= piece.size();
}

}  // namespace masque
