// SPDX-License-Identifier: Apache-2.0
// What a server may send to an address of which nobody has shown yet that it is the client's: three
// times the bytes that came from there (RFC 9000 8.1). ngtcp2 keeps that account for its own
// packets; this one counts the copies of them too (packet_repeater.h), which are sent while ngtcp2
// has used no more than half.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "base/mutant.h"

namespace masque {

class AddressCredit {
 public:
  static constexpr uint64_t kFactor = 3;
  // ngtcp2 fills a datagram of this size at least, or none.
  static constexpr size_t kDatagramMin = 1200;

  void on_received(size_t bytes) { received_ += bytes; }
  void on_sent(size_t bytes) { sent_ += bytes; }
  void on_copy_sent(size_t bytes) { copied_ += bytes; }

  bool covers_copy(size_t bytes) const {
    if (mutant("credit.copies.remove")) return true;
    return 2 * sent_ <= allowed() && sent_ + copied_ + bytes <= allowed();
  }
  // How much of `room` a datagram of ngtcp2 may fill; 0: none may go.
  size_t limit(size_t room) const {
    if (copied_ == 0 || mutant("credit.limit.remove")) return room;
    const uint64_t left = allowed() - std::min(allowed(), sent_ + copied_);
    return left < kDatagramMin ? 0 : static_cast<size_t>(std::min<uint64_t>(room, left));
  }

 private:
  uint64_t allowed() const { return kFactor * received_; }

  uint64_t received_ = 0;
  uint64_t sent_ = 0;
  uint64_t copied_ = 0;
};

}  // namespace masque
