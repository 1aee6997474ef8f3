// SPDX-License-Identifier: Apache-2.0
// One IP packet in at most two pieces, so that headers can be rewritten while the payload stays
// where it was read: the TUN's super-packets are split without a copy. Neither piece is owned.
#pragma once

#include "base/bytes.h"

namespace masque {

// `head` holds all headers (or the whole packet); `body` is payload that follows it, often empty.
struct PacketSlices {
  Bytes head;
  Bytes body;
  size_t size() const { return head.size() + body.size(); }
};

}  // namespace masque
