// SPDX-License-Identifier: Apache-2.0
// Batches of UDP datagrams between the core and the sockets. Everything on the packet path moves in
// batches, because a kernel crossing costs ten times what a packet costs in user space.
//
// TransmitBatch: QUIC writes packets one after another into one buffer; packets of one size to one
// path form a run, which the host sends with one UDP_SEGMENT (GSO) message.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "base/bytes.h"
#include "core/ip/socket_address.h"

namespace masque {

// A UDP datagram as it came from the network, already split by the GRO segment size.
struct ReceivedDatagram {
  NetworkPath path;
  Ecn ecn = Ecn::NotEct;
  MutableBytes bytes;
};

// Consecutive datagrams of `segment_size` bytes, the last one perhaps shorter.
struct TransmitRun {
  NetworkPath path;
  Ecn ecn = Ecn::NotEct;
  uint32_t offset = 0;
  uint32_t length = 0;
  uint16_t segment_size = 0;
};

class TransmitBatch {
 public:
  static constexpr size_t kDatagramMax = 1500;  // we never send larger UDP payloads
  static constexpr size_t kSegmentsMax = 40;    // per run; the kernel takes 64, and 64 KiB in all
  static constexpr size_t kCapacity = 256 * 1024;
  static constexpr size_t kRunsMax = 128;

  TransmitBatch() : buffer_(kCapacity) { runs_.reserve(kRunsMax); }

  // Room for one more datagram, or an empty span when the batch is full: send it and clear().
  MutableBytes room() {
    if (used_ + kDatagramMax > buffer_.size() || runs_.size() == kRunsMax) return {};
    return MutableBytes(buffer_).subspan(used_, kDatagramMax);
  }
  // The first `length` bytes of room() are a datagram now.
  void commit(const NetworkPath& path, Ecn ecn, size_t length);
  void clear() {
    used_ = 0;
    runs_.clear();
  }

  bool empty() const { return runs_.empty(); }
  std::span<const TransmitRun> runs() const { return runs_; }
  Bytes bytes(const TransmitRun& run) const {
    return Bytes(buffer_).subspan(run.offset, run.length);
  }
  size_t size() const { return used_; }

 private:
  std::vector<uint8_t> buffer_;
  std::vector<TransmitRun> runs_;
  size_t used_ = 0;
};

}  // namespace masque
