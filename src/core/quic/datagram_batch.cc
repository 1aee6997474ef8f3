// SPDX-License-Identifier: Apache-2.0
#include "core/quic/datagram_batch.h"

namespace masque {

void TransmitBatch::commit(const NetworkPath& path, Ecn ecn, size_t length) {
  MASQUE_ASSERT(length > 0 && length <= kDatagramMax && used_ + length <= buffer_.size());
  if (!runs_.empty()) {
    TransmitRun& last = runs_.back();
    // A run ends with its first shorter datagram: the kernel cuts at segment_size only.
    const bool whole = last.length % last.segment_size == 0;
    if (whole && length <= last.segment_size && last.length / last.segment_size < kSegmentsMax &&
        last.ecn == ecn && last.path == path) {
      last.length += static_cast<uint32_t>(length);
      used_ += length;
      return;
    }
  }
  runs_.push_back({.path = path,
                   .ecn = ecn,
                   .offset = static_cast<uint32_t>(used_),
                   .length = static_cast<uint32_t>(length),
                   .segment_size = static_cast<uint16_t>(length)});
  used_ += length;
}

}  // namespace masque
