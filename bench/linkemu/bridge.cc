// SPDX-License-Identifier: Apache-2.0
#include "linkemu/bridge.h"

#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <utility>

#include "core/ip/segment.h"
#include "host/system.h"
#include "host/vnet_header.h"
#include "linkemu/frame.h"

namespace masque::linkemu {

namespace {

constexpr int kBufferBytes = 16 * 1024 * 1024;
constexpr size_t kSuperPacketMax = 64 * 1024 + kEthernetHeader;
constexpr size_t kVlanTag = 4;

Result<size_t, SysError> mtu_of(const std::string& interface) {
  TRY(const UniqueFd fd, sys::socket(AF_INET, SOCK_DGRAM, 0));
  ifreq request{};
  interface.copy(request.ifr_name, sizeof request.ifr_name - 1);
  if (::ioctl(fd.get(), SIOCGIFMTU, &request) < 0) return sys::failure("interface " + interface);
  return static_cast<size_t>(request.ifr_mtu);
}

// A buffer beyond the system's limit needs CAP_NET_ADMIN, which a user namespace may not give.
bool set_buffer(int fd, int forced, int plain) {
  return sys::set_option(fd, SOL_SOCKET, forced, kBufferBytes, "buffer") ||
         sys::set_option(fd, SOL_SOCKET, plain, kBufferBytes, "buffer");
}

union PacketAddress {
  sockaddr any;
  sockaddr_ll packet;
};

Result<UniqueFd, SysError> open_interface(const std::string& name) {
  const unsigned index = ::if_nametoindex(name.c_str());
  if (index == 0) return sys::failure("interface " + name);
  // Protocol 0: nothing is received before everything is set.
  TRY(UniqueFd fd, sys::socket(AF_PACKET, SOCK_RAW, 0));
  TRY_VOID(sys::set_option(fd.get(), SOL_PACKET, PACKET_VNET_HDR, 1, "PACKET_VNET_HDR"));
  TRY_VOID(
      sys::set_option(fd.get(), SOL_PACKET, PACKET_IGNORE_OUTGOING, 1, "PACKET_IGNORE_OUTGOING"));
  TRY_VOID(sys::set_option(fd.get(), SOL_SOCKET, SO_TIMESTAMPNS, 1, "SO_TIMESTAMPNS"));
  set_buffer(fd.get(), SO_RCVBUFFORCE, SO_RCVBUF);
  set_buffer(fd.get(), SO_SNDBUFFORCE, SO_SNDBUF);
  const packet_mreq all{.mr_ifindex = static_cast<int>(index),
                        .mr_type = PACKET_MR_PROMISC,
                        .mr_alen = 0,
                        .mr_address = {}};
  TRY_VOID(sys::set_option(fd.get(), SOL_PACKET, PACKET_ADD_MEMBERSHIP,
                           std::bit_cast<std::array<uint8_t, sizeof all>>(all),
                           "promiscuous mode of " + name));
  PacketAddress address{.packet = {}};
  address.packet.sll_family = AF_PACKET;
  address.packet.sll_protocol = std::byteswap(uint16_t{ETH_P_ALL});
  address.packet.sll_ifindex = static_cast<int>(index);
  TRY_VOID(sys::bind(fd.get(), &address.any, sizeof address.packet));
  return fd;
}

Direction other(Direction direction) {
  return direction == Direction::Up ? Direction::Down : Direction::Up;
}

}  // namespace

struct Bridge::Outgoing {
  static constexpr size_t kMessages = 64;
  std::array<mmsghdr, kMessages> messages{};
  std::array<std::array<iovec, 2>, kMessages> vectors{};
  std::array<uint8_t, kVnetHeaderBytes> plain_header{};  // all zero: an ordinary packet
};

Result<size_t, SysError> Bridge::frame_size_max(const std::string& a, const std::string& b) {
  TRY(const size_t mtu_a, mtu_of(a));
  TRY(const size_t mtu_b, mtu_of(b));
  return std::max(mtu_a, mtu_b) + kEthernetHeader + kVlanTag;
}

Result<std::unique_ptr<Bridge>, SysError> Bridge::create(const std::string& a, const std::string& b,
                                                         PacketPool& pool) {
  TRY(UniqueFd first, open_interface(a));
  TRY(UniqueFd second, open_interface(b));
  return std::unique_ptr<Bridge>(new Bridge({std::move(first), std::move(second)}, pool));
}

Bridge::Bridge(Sockets sockets, PacketPool& pool)
    : sockets_(std::move(sockets)),
      pool_(pool),
      batch_(pool, {.head_bytes = kVnetHeaderBytes, .spill_bytes = kSuperPacketMax}),
      outgoing_(std::make_unique<Outgoing>()) {
  control_.reserve(ReceiveBatch::kMessages);
}

Bridge::~Bridge() = default;

Result<void, SysError> Bridge::watch(int epoll) {
  for (size_t i = 0; i < sockets_.size(); ++i) {
    epoll_event event{.events = EPOLLIN, .data = {.u64 = i}};
    if (::epoll_ctl(epoll, EPOLL_CTL_ADD, sockets_[i].get(), &event) < 0) {
      return sys::failure("epoll_ctl");
    }
  }
  return {};
}

PacketIo::More Bridge::receive(uint64_t tag, PacketSink& sink) {
  const auto direction = static_cast<Direction>(tag);
  const size_t count = batch_.receive(sockets_[tag].get());
  if (batch_.failed()) ++counters_.unreadable;
  for (size_t i = 0; i < count; ++i) on_message(i, direction, sink);
  if (!control_.empty()) {
    counters_.control += control_.size();
    send(direction, control_);
    for (const Slot slot : control_) pool_.give_back(slot);
    control_.clear();
  }
  return count == ReceiveBatch::kMessages ? More::Maybe : More::No;
}

void Bridge::on_message(size_t i, Direction direction, PacketSink& sink) {
  Arrival arrival{.direction = direction, .at = batch_.at(i)};
  const auto info = read_vnet_header(batch_.head(i));
  if (!info || batch_.size(i) < kEthernetHeader) {
    ++counters_.unreadable;
    return;
  }
  if (info->gso != GsoType::None) {
    split(*info, batch_.whole(i), arrival, sink);
    return;
  }
  if (!batch_.fits(i)) {
    ++counters_.unreadable;
    return;
  }
  if (info->checksum == ChecksumState::Partial) {
    ++counters_.checksums;
    if (!complete_checksum(batch_.packet(i), *info)) {
      ++counters_.unreadable;
      return;
    }
  }
  arrival.ip_size = batch_.size(i) - kEthernetHeader;
  arrival.slot = batch_.take(i);
  on_frame(arrival, sink);
}

void Bridge::on_frame(const Arrival& arrival, PacketSink& sink) {
  if (frame_kind(pool_.packet(arrival.slot)) == FrameKind::Ip) {
    sink.on_packet(arrival);
  } else {
    control_.push_back(arrival.slot);
  }
}

void Bridge::split(const OffloadInfo& info, MutableBytes frame, const Arrival& like,
                   PacketSink& sink) {
  OffloadInfo inner = info;
  inner.checksum_start = static_cast<uint16_t>(info.checksum_start - kEthernetHeader);
  auto splitter = SuperPacketSplitter::make(inner, frame.subspan(kEthernetHeader));
  if (!splitter || splitter->packet_size_max() + kEthernetHeader > pool_.slot_bytes()) {
    ++counters_.unreadable;
    return;
  }
  ++counters_.super_packets;
  PacketSlices slices;
  while (splitter->next(slices)) {
    if (pool_.empty()) {
      ++counters_.unreadable;
      return;
    }
    Arrival arrival = like;
    arrival.slot = pool_.take();
    arrival.ip_size = slices.head.size() + slices.body.size();
    uint8_t* to = pool_.room(arrival.slot).data();
    std::memcpy(to, frame.data(), kEthernetHeader);
    std::memcpy(to + kEthernetHeader, slices.head.data(), slices.head.size());
    std::memcpy(to + kEthernetHeader + slices.head.size(), slices.body.data(), slices.body.size());
    pool_.info(arrival.slot).size = static_cast<uint32_t>(kEthernetHeader + arrival.ip_size);
    sink.on_packet(arrival);
  }
}

void Bridge::send(Direction direction, std::span<const Slot> slots) {
  const int fd = sockets_[static_cast<size_t>(other(direction))].get();
  Outgoing& out = *outgoing_;
  while (!slots.empty()) {
    const size_t count = std::min(slots.size(), Outgoing::kMessages);
    for (size_t i = 0; i < count; ++i) {
      const MutableBytes packet = pool_.packet(slots[i]);
      out.vectors[i] = {iovec{.iov_base = out.plain_header.data(), .iov_len = kVnetHeaderBytes},
                        iovec{.iov_base = packet.data(), .iov_len = packet.size()}};
      out.messages[i].msg_hdr = {};
      out.messages[i].msg_hdr.msg_iov = out.vectors[i].data();
      out.messages[i].msg_hdr.msg_iovlen = out.vectors[i].size();
    }
    size_t done = 0;
    while (done < count) {
      const int sent = ::sendmmsg(fd, out.messages.data() + done,
                                  static_cast<unsigned>(count - done), MSG_DONTWAIT);
      if (sent > 0) {
        done += static_cast<size_t>(sent);
      } else {
        ++counters_.send_failed;  // the first of them: a full device or one that is down
        ++done;
      }
    }
    slots = slots.subspan(count);
  }
}

MutableBytes Bridge::payload(Slot slot) { return pool_.packet(slot).subspan(kEthernetHeader); }

void Bridge::count_kernel_drops() {
  for (const UniqueFd& fd : sockets_) {
    tpacket_stats statistics{};
    socklen_t length = sizeof statistics;
    // Reading them sets them back to zero.
    if (::getsockopt(fd.get(), SOL_PACKET, PACKET_STATISTICS, &statistics, &length) == 0) {
      counters_.receive_dropped += statistics.tp_drops;
    }
  }
}

const PacketIo::Counters& Bridge::counters() {
  count_kernel_drops();
  return counters_;
}

}  // namespace masque::linkemu
