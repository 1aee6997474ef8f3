// SPDX-License-Identifier: Apache-2.0
// Where inner packets go that leave the core: the TUN's write batch (host/) or a test. The bytes
// are valid only during the call.
#pragma once

#include "base/bytes.h"

namespace masque {

class PacketSink {
 public:
  virtual ~PacketSink() = default;
  virtual void deliver(Bytes ip_packet) = 0;
};

}  // namespace masque
