// SPDX-License-Identifier: Apache-2.0
// Proves that the tunnel carries 1280 bytes end to end, also behind HTTP intermediaries: ICMPv6
// echo with 1232 bytes of data, repeated until answered (RFC 9484 7.2, protocol.md U3). From the
// second try on a small one goes along: a peer that answers no pings at all says nothing about the
// tunnel, one that answers the small ones alone does.
//
//   Idle --start--> Probing --large reply--------------> Confirmed
//                      |----kTriesMax, small replies---> TooNarrow
//                      |----kTriesMax, no reply at all-> Unanswered
//
// Timer: the next try, or the end of the wait for the last one.
#pragma once

#include <optional>
#include <string_view>

#include "base/time.h"
#include "core/ip/icmp.h"

namespace masque {

class MtuProbe {
 public:
  // As long as the grace of a QUIC path that is too narrow: the peer may still be searching for the
  // MTU that its reply needs.
  static constexpr uint16_t kTriesMax = 15;
  static constexpr Duration kInterval = 1s;
  static constexpr size_t kPacketSize = kIpv6MinimumMtu;
  static constexpr size_t kSmallPacketSize = 56;

  enum class State : uint8_t { Idle, Probing, Confirmed, TooNarrow, Unanswered };

  // `destination` is ff02::1 when the peer's address is not known.
  void start(Instant now, const IpAddress& source, const IpAddress& destination);
  void stop() { state_ = State::Idle; }
  State state() const { return state_; }

  std::optional<Instant> next_timeout() const;
  enum class Due : uint8_t { Nothing, SendLarge, SendBoth, GaveUp };
  Due on_timeout(Instant now);
  // The echo requests, after Due::SendLarge and SendBoth.
  size_t write_large(MutableBytes out) const { return write(kPacketSize, out); }
  size_t write_small(MutableBytes out) const { return write(kSmallPacketSize, out); }
  // Small pings are answered and large ones are not, so far.
  bool looks_narrow() const { return state_ == State::Probing && small_answered_; }

  // Whether a packet from the peer is our answer; it goes no further then.
  bool on_packet(const IpPacketView& view, Bytes packet);

 private:
  size_t write(size_t packet_size, MutableBytes out) const;

  State state_ = State::Idle;
  IpAddress source_;
  IpAddress destination_;
  uint16_t tries_ = 0;
  bool small_answered_ = false;
  Instant next_{};
};
// As `status` has it.
std::string_view to_string(MtuProbe::State state);

}  // namespace masque
