// SPDX-License-Identifier: Apache-2.0
// How a queue tells the flow of an inner packet that it is too fast.
#pragma once

#include "base/bytes.h"

namespace masque {

enum class CongestionSignal : uint8_t {
  Marked,  // it knows ECN: its codepoint is CE now, the IPv4 header checksum follows (RFC 3168 5)
  Drop,    // it does not: it is to be dropped
  Spare,   // a TCP acknowledgement without data: dropping it slows nobody down
};

// `head`: the first bytes of a packet of `length` bytes that passed parse_ip_packet().
CongestionSignal congestion_signal(MutableBytes head, size_t length);

}  // namespace masque
