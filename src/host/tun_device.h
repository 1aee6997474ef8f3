// SPDX-License-Identifier: Apache-2.0
// A TUN interface that moves super-packets: with the kernel's vnet header and TSO/USO offloads, one
// read or write carries up to 64 KiB of one flow (RFC 9484 does not know of this; core/ip/segment.h
// and core/ip/coalesce.h make and merge the real packets).
//
// What callers may rely on: nothing is allocated after open(); a full or refusing kernel queue drops
// the packet and counts it, never fails; an error that is returned means that the device is gone.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "base/bytes.h"
#include "base/result.h"

namespace masque {

// struct virtio_net_hdr of <linux/virtio_net.h>, which does not compile as C++. Native byte order.
struct VnetHeader {
  static constexpr size_t kSize = 10;
  static constexpr uint8_t kNeedsChecksum = 1;
  static constexpr uint8_t kChecksumValid = 2;
  enum GsoType : uint8_t { kNone = 0, kTcpV4 = 1, kTcpV6 = 4, kUdpL4 = 5, kEcnFlag = 0x80 };

  uint8_t flags = 0;
  uint8_t gso_type = kNone;
  uint16_t header_length = 0;    // IP and transport header of a super-packet
  uint16_t gso_size = 0;         // payload bytes of each segment
  uint16_t checksum_start = 0;
  uint16_t checksum_offset = 0;

  static VnetHeader read(const uint8_t* from);
  void write(uint8_t* to) const;
};

struct TunOptions {
  std::string name;  // empty or with "%d": the kernel chooses
  enum class Offload : uint8_t { On, Off } offload = Offload::On;
};

struct TunCounters {
  uint64_t reads = 0;
  uint64_t bytes_read = 0;
  uint64_t read_dropped = 0;   // shorter than its header
  uint64_t writes = 0;
  uint64_t bytes_written = 0;
  uint64_t write_dropped = 0;  // EAGAIN, EIO (interface down), ENOBUFS, EINVAL (malformed)
};

// A packet or super-packet as the kernel handed it over.
struct TunPacket {
  VnetHeader vnet;
  MutableBytes bytes;  // from the IP header on
};

// Buffers for the reads of one turn; the spans live until the next read.
class TunReadBatch {
 public:
  static constexpr size_t kPacketsMax = 16;
  TunReadBatch();
  std::span<const TunPacket> packets() const { return {packets_.get(), count_}; }
  bool full() const { return count_ == kPacketsMax; }  // there is probably more to read

 private:
  friend class TunDevice;
  std::unique_ptr<uint8_t[]> buffer_;
  std::unique_ptr<TunPacket[]> packets_;
  size_t count_ = 0;
};

class TunDevice {
 public:
  // What the kernel agreed to hand us unsegmented.
  enum class OffloadLevel : uint8_t {
    None,            // no vnet header at all
    Checksum,        // vnet header, no super-packets
    Tcp,             // + TSO
    TcpAndUdp,       // + USO (Linux 6.2)
  };

  static Result<TunDevice, SysError> open(const TunOptions& options);
  ~TunDevice();
  TunDevice(TunDevice&&) noexcept;
  TunDevice& operator=(TunDevice&&) noexcept;

  int fd() const;
  const std::string& name() const;
  OffloadLevel offload() const;

  // Reads until nothing is waiting or the batch is full. EBADFD, EIO...: the device is gone.
  Result<void, SysError> read_batch(TunReadBatch& batch);

  // One packet or super-packet in up to kPiecesMax pieces. Ignores `vnet` at OffloadLevel::None, where
  // super-packets and unfinished checksums are refused (counted as dropped).
  static constexpr size_t kPiecesMax = 64;
  Result<void, SysError> write(const VnetHeader& vnet, std::span<const Bytes> pieces);

  const TunCounters& counters() const;

 private:
  struct Impl;
  explicit TunDevice(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace masque
