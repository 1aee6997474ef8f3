// SPDX-License-Identifier: Apache-2.0
// ICMP errors about packets that a tunnel does not forward (RFC 9484 7.2.1), under the rate limits
// of RFC 4443 2.4 (f). Packet Too Big has a bucket of its own, so that a flood of refused packets
// cannot stop path MTU discovery.
#pragma once

#include <array>
#include <optional>

#include "core/ip/icmp.h"
#include "core/ip/icmp_limiter.h"
#include "core/tunnel/counters.h"

namespace masque {

// The ICMP error for a dropped packet; nullopt: dropped in silence.
std::optional<IcmpErrorKind> icmp_error_for(DropReason reason);

class IcmpResponder {
 public:
  // The error packet, valid until the next call; empty when none is due.
  Bytes respond(Instant now, const IcmpError& error, const IpAddress& from,
                const IpPacketView& view, const PacketSlices& offending, TunnelCounters& counters);

 private:
  TokenBucket errors_{{.per_second = 10, .burst = 10}};
  TokenBucket too_big_{{.per_second = 100, .burst = 100}};
  std::array<uint8_t, kIcmpErrorSizeMax> buffer_;
};

}  // namespace masque
