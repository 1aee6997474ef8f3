// SPDX-License-Identifier: Apache-2.0
// A TUN interface that moves super-packets: with the kernel's vnet header and TSO/USO offloads, one
// read or write carries up to 64 KiB of one flow. core/ip/segment.h splits what is read into IP
// packets, core/ip/coalesce.h merges what is to be written.
//
// What callers may rely on: nothing is allocated after open(); a full or refusing kernel queue
// drops the packet and counts it, never fails; an error that is returned means that the device is
// gone.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "base/bytes.h"
#include "base/result.h"
#include "core/ip/coalesce.h"
#include "core/ip/offload.h"

namespace masque {

struct TunOptions {
  std::string name;  // empty or with "%d": the kernel chooses
  enum class Offload : uint8_t { On, Off } offload = Offload::On;
};

struct TunCounters {
  uint64_t reads = 0;
  uint64_t bytes_read = 0;
  uint64_t read_dropped = 0;  // shorter than its header, or an offload we never asked for
  uint64_t writes = 0;
  uint64_t bytes_written = 0;
  uint64_t write_dropped = 0;  // EAGAIN, EIO (interface down), ENOBUFS, EINVAL (malformed)
};

// A packet or super-packet as the kernel handed it over.
struct TunPacket {
  OffloadInfo offload;
  MutableBytes bytes;  // from the IP header on
};

// Buffers for the reads of one turn; the spans live until the next read.
class TunReadBatch {
 public:
  static constexpr size_t kPacketsMax = 8;  // a quarter of a session's queue when all are 64 KiB
  TunReadBatch();
  std::span<const TunPacket> packets() const { return {packets_.get(), count_}; }
  bool full() const { return full_; }  // there is probably more to read

 private:
  friend class TunDevice;
  std::unique_ptr<uint8_t[]> buffer_;
  std::unique_ptr<TunPacket[]> packets_;
  size_t count_ = 0;
  bool full_ = false;
};

class TunDevice {
 public:
  // What the kernel agreed to hand us and take from us unsegmented.
  enum class OffloadLevel : uint8_t {
    None,       // no vnet header at all
    Checksum,   // vnet header, no super-packets
    Tcp,        // + TSO
    TcpAndUdp,  // + USO (Linux 6.2)
  };

  static Result<TunDevice, SysError> open(const TunOptions& options);
  ~TunDevice();
  TunDevice(TunDevice&&) noexcept;
  TunDevice& operator=(TunDevice&&) noexcept;

  int fd() const;
  const std::string& name() const;
  OffloadLevel offload() const;
  // What a PacketCoalescer may merge for this device.
  PacketCoalescer::Merge merge() const;

  // Reads until nothing is waiting or the batch is full.
  Result<void, SysError> read_batch(TunReadBatch& batch);
  // Results of a PacketCoalescer: the vnet header goes into the headroom before each packet.
  // At OffloadLevel::None anything merged or without its checksum is refused (counted as dropped).
  Result<void, SysError> write_batch(std::span<const CoalescedPacket> packets);
  // One ordinary, complete packet, for example an ICMP error of ours.
  Result<void, SysError> write(Bytes packet);

  const TunCounters& counters() const;

 private:
  struct Impl;
  explicit TunDevice(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace masque
