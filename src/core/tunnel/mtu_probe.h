// SPDX-License-Identifier: Apache-2.0
// Proves that the tunnel carries 1280 bytes end to end, also behind HTTP intermediaries: ICMPv6
// echo with 1232 bytes of data, repeated until answered (RFC 9484 7.2, protocol.md U3).
//
//   Idle --start--> Probing --reply--> Confirmed
//                      |------kTriesMax without reply--> Unanswered
//
// Timer: the next try, or the end of the wait for the last one.
#pragma once

#include <optional>

#include "base/time.h"
#include "core/ip/icmp.h"

namespace masque {

class MtuProbe {
 public:
  static constexpr uint16_t kTriesMax = 5;
  static constexpr Duration kInterval = 1s;
  static constexpr size_t kPacketSize = kIpv6MinimumMtu;

  enum class State : uint8_t { Idle, Probing, Confirmed, Unanswered };

  // `destination` is ff02::1 when the peer's address is not known.
  void start(Instant now, const IpAddress& source, const IpAddress& destination);
  void stop() { state_ = State::Idle; }
  State state() const { return state_; }

  std::optional<Instant> next_timeout() const;
  enum class Due : uint8_t { Nothing, Send, GaveUp };
  Due on_timeout(Instant now);
  // The next echo request, after Due::Send.
  size_t write(MutableBytes out);

  // Whether a packet from the peer is our answer; it goes no further then.
  bool on_packet(const IpPacketView& view, Bytes packet);

 private:
  State state_ = State::Idle;
  IpAddress source_;
  IpAddress destination_;
  uint16_t tries_ = 0;
  Instant next_{};
};

}  // namespace masque
