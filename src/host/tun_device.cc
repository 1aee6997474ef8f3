// SPDX-License-Identifier: Apache-2.0
#include "host/tun_device.h"

#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <format>

#include "base/assert.h"
#include "host/system.h"
#include "host/vnet_header.h"

// Linux 6.2; older kernel headers do not have them.
#ifndef TUN_F_USO4
#define TUN_F_USO4 0x20
#define TUN_F_USO6 0x40
#endif

namespace masque {
namespace {

constexpr size_t kPacketBytesMax = 65535;
// Before each packet: room so that the vnet header ends, and the IP header begins, on 16 bytes.
constexpr size_t kHeaderRoom = 16;
constexpr size_t kSlotBytes = kHeaderRoom + 65536;
static_assert(kHeaderRoom >= kVnetHeaderBytes && PacketCoalescer::kHeadroom >= kVnetHeaderBytes);

struct Rung {
  TunDevice::OffloadLevel level;
  unsigned flags;
};
constexpr unsigned kTcpFlags = TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_TSO_ECN;
constexpr std::array kLadder = {
    Rung{.level = TunDevice::OffloadLevel::TcpAndUdp, .flags = kTcpFlags | TUN_F_USO4 | TUN_F_USO6},
    Rung{.level = TunDevice::OffloadLevel::Tcp, .flags = kTcpFlags},
    Rung{.level = TunDevice::OffloadLevel::Checksum, .flags = TUN_F_CSUM},
};

enum class Fault : uint8_t { NotReady, Dropped, Gone };

// EIO: the interface is down. EBADFD: it was deleted.
Fault fault_of(int code) {
  switch (code) {
    case EAGAIN:
      return Fault::NotReady;
    case EIO:
    case ENOBUFS:
    case ENOMEM:
    case EINVAL:
      return Fault::Dropped;
    default:
      return Fault::Gone;
  }
}

}  // namespace

TunReadBatch::TunReadBatch()
    : buffer_(std::make_unique<uint8_t[]>(kPacketsMax * kSlotBytes)),
      packets_(std::make_unique<TunPacket[]>(kPacketsMax)) {}

struct TunDevice::Impl {
  UniqueFd fd;
  std::string name;
  OffloadLevel level = OffloadLevel::None;
  TunCounters counters;

  Result<void, SysError> climb_down_ladder();
  Result<void, SysError> write_pieces(std::span<const iovec> pieces);
};

TunDevice::TunDevice(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
TunDevice::~TunDevice() = default;
TunDevice::TunDevice(TunDevice&&) noexcept = default;
TunDevice& TunDevice::operator=(TunDevice&&) noexcept = default;

Result<TunDevice, SysError> TunDevice::open(const TunOptions& options) {
  auto impl = std::make_unique<Impl>();
  if (options.name.size() >= IFNAMSIZ) {
    return sys::failure(ENAMETOOLONG, std::format("make TUN interface {}", options.name));
  }
  TRY(impl->fd, sys::open("/dev/net/tun", O_RDWR | O_NONBLOCK));
  ifreq request{};
  std::memcpy(request.ifr_name, options.name.data(), options.name.size());
  const bool offload = options.offload == TunOptions::Offload::On;
  request.ifr_flags = static_cast<short>(IFF_TUN | IFF_NO_PI | (offload ? IFF_VNET_HDR : 0));
  if (::ioctl(impl->fd.get(), TUNSETIFF, &request) < 0) {
    return sys::failure(
        std::format("make TUN interface {}", options.name.empty() ? "tun%d" : options.name));
  }
  impl->name = request.ifr_name;
  if (offload) TRY_VOID(impl->climb_down_ladder());
  return TunDevice(std::move(impl));
}

Result<void, SysError> TunDevice::Impl::climb_down_ladder() {
  int header_bytes = kVnetHeaderBytes;
  if (::ioctl(fd.get(), TUNSETVNETHDRSZ, &header_bytes) < 0)
    return sys::failure("set the TUN's vnet header size");
  for (const Rung& rung : kLadder) {
    if (::ioctl(fd.get(), TUNSETOFFLOAD, rung.flags) == 0) {
      level = rung.level;
      return {};
    }
  }
  return sys::failure("set the TUN's offloads");
}

int TunDevice::fd() const { return impl_->fd.get(); }
const std::string& TunDevice::name() const { return impl_->name; }
TunDevice::OffloadLevel TunDevice::offload() const { return impl_->level; }
const TunCounters& TunDevice::counters() const { return impl_->counters; }

PacketCoalescer::Merge TunDevice::merge() const {
  switch (impl_->level) {
    case OffloadLevel::TcpAndUdp:
      return PacketCoalescer::Merge::TcpAndUdp;
    case OffloadLevel::Tcp:
      return PacketCoalescer::Merge::Tcp;
    case OffloadLevel::Checksum:
    case OffloadLevel::None:
      return PacketCoalescer::Merge::Nothing;
  }
  std::unreachable();
}

Result<void, SysError> TunDevice::read_batch(TunReadBatch& batch) {
  const size_t header = impl_->level == OffloadLevel::None ? 0 : kVnetHeaderBytes;
  batch.count_ = 0;
  batch.full_ = false;
  for (size_t turn = 0; turn < TunReadBatch::kPacketsMax; ++turn) {
    uint8_t* const packet = batch.buffer_.get() + batch.count_ * kSlotBytes + kHeaderRoom;
    uint8_t* const start = packet - header;
    const ssize_t got = ::read(impl_->fd.get(), start, header + kPacketBytesMax);
    if (got < 0) {
      if (errno == EINTR) continue;
      if (fault_of(errno) == Fault::NotReady) return {};
      return sys::failure(std::format("read from {}", impl_->name));
    }
    ++impl_->counters.reads;
    const auto length = static_cast<size_t>(got);
    const auto offload = header == 0       ? std::optional(OffloadInfo{})
                         : length > header ? read_vnet_header(start)
                                           : std::nullopt;
    if (!offload || length <= header) {
      ++impl_->counters.read_dropped;
      continue;
    }
    impl_->counters.bytes_read += length - header;
    batch.packets_[batch.count_++] = {.offload = *offload, .bytes = {packet, length - header}};
  }
  batch.full_ = true;
  return {};
}

Result<void, SysError> TunDevice::write_batch(std::span<const CoalescedPacket> packets) {
  for (const CoalescedPacket& packet : packets) {
    uint8_t* start = packet.packet.data();
    size_t length = packet.packet.size();
    if (impl_->level == OffloadLevel::None) {
      const bool plain =
          packet.offload.gso == GsoType::None && packet.offload.checksum == ChecksumState::Complete;
      if (!plain) {
        ++impl_->counters.write_dropped;
        continue;
      }
    } else {
      start -= kVnetHeaderBytes;
      length += kVnetHeaderBytes;
      write_vnet_header(packet.offload, start);
    }
    const iovec piece{.iov_base = start, .iov_len = length};
    TRY_VOID(impl_->write_pieces({&piece, 1}));
  }
  return {};
}

Result<void, SysError> TunDevice::write(Bytes packet) {
  std::array<uint8_t, kVnetHeaderBytes> header{};  // all zero: nothing to offload
  const iovec pieces[] = {
      {.iov_base = header.data(), .iov_len = header.size()},
      {.iov_base = unconst(packet.data()), .iov_len = packet.size()},
  };
  return impl_->write_pieces(std::span(pieces).subspan(impl_->level == OffloadLevel::None ? 1 : 0));
}

Result<void, SysError> TunDevice::Impl::write_pieces(std::span<const iovec> pieces) {
  ssize_t sent = 0;
  do {
    sent = pieces.size() == 1 ? ::write(fd.get(), pieces[0].iov_base, pieces[0].iov_len)
                              : ::writev(fd.get(), pieces.data(), static_cast<int>(pieces.size()));
  } while (sent < 0 && errno == EINTR);
  if (sent >= 0) {
    ++counters.writes;
    counters.bytes_written += pieces.back().iov_len;
    return {};
  }
  // A queue that is full or an interface that is down loses packets, as any link does.
  if (fault_of(errno) == Fault::Gone) return sys::failure(std::format("write to {}", name));
  ++counters.write_dropped;
  return {};
}

}  // namespace masque
