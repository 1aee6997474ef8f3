// SPDX-License-Identifier: Apache-2.0
// Sends the first packets of a connection twice, those of a client's handshake too. Until the path
// layer carries it nothing protects them, and QUIC's controller takes each one that is lost for
// congestion when its window is at its smallest: on a long path it then needs ten seconds and more
// to find the rate. The peer's QUIC drops what comes twice (RFC 9000 12.3).
//
//   keep   a packet that was just sent
//   due    its copy, kApart later
//
// Bounded in packets and bytes for the life of the connection, so that a narrow link feels little.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <vector>

#include "base/bytes.h"
#include "base/time.h"

namespace masque {

class PacketRepeater {
 public:
  static constexpr size_t kPacketsMax = 24;
  static constexpr size_t kBytesMax = 16 * 1024;
  static constexpr Duration kApart = 12ms;  // longer than most bursts of losses

  void keep(Instant now, Bytes packet) {
    if (packets_left_ == 0 || packet.size() > bytes_left_) return;
    --packets_left_;
    bytes_left_ -= packet.size();
    copies_.push_back({now + kApart, {packet.begin(), packet.end()}});
  }
  // The copy to send now; it stays until pop().
  std::optional<Bytes> due(Instant now) const {
    if (copies_.empty() || copies_.front().at > now) return std::nullopt;
    return copies_.front().bytes;
  }
  void pop() { copies_.pop_front(); }
  std::optional<Instant> next_timeout() const {
    return copies_.empty() ? std::nullopt : std::optional(copies_.front().at);
  }

 private:
  struct Copy {
    Instant at;
    std::vector<uint8_t> bytes;
  };
  std::deque<Copy> copies_;
  size_t packets_left_ = kPacketsMax;
  size_t bytes_left_ = kBytesMax;
};

}  // namespace masque
