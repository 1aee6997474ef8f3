// SPDX-License-Identifier: Apache-2.0
// Where the core writes outgoing datagrams during a turn of the host's loop. The batch is full when
// its room() is empty; then flush() hands it to the kernel and clears it, and writing goes on.
#pragma once

#include "core/quic/datagram_batch.h"

namespace masque {

class TransmitTarget {
 public:
  virtual ~TransmitTarget() = default;
  virtual TransmitBatch& batch() = 0;
  virtual void flush() = 0;
};

}  // namespace masque
