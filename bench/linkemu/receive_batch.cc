// SPDX-License-Identifier: Apache-2.0
#include "linkemu/receive_batch.h"

#include <netinet/in.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "host/clock.h"

namespace masque::linkemu {

ClockPair ClockPair::now() {
  return {
      .monotonic = monotonic_now(),
      .wall_ns = std::chrono::duration_cast<Duration>(wall_clock_now().time_since_epoch()).count()};
}

Instant ClockPair::to_monotonic(int64_t stamp_ns) const {
  // A stamp from the future or from long ago is a wall clock that was set meanwhile.
  constexpr Duration kAgeMax = 1s;
  const Duration age(wall_ns - stamp_ns);
  if (age < Duration::zero() || age > kAgeMax) return monotonic;
  return monotonic - age;
}

ReceiveBatch::ReceiveBatch(PacketPool& pool, const Layout& layout)
    : pool_(pool),
      layout_(layout),
      heads_(kMessages * layout.head_bytes),
      spill_(layout.spill_bytes > 0 ? kMessages * (pool.slot_bytes() + layout.spill_bytes) : 0) {
  taken_.fill(true);
}

ReceiveBatch::~ReceiveBatch() {
  for (size_t i = 0; i < kMessages; ++i) {
    if (!taken_[i]) pool_.give_back(slots_[i]);
  }
}

void ReceiveBatch::prepare(size_t i) {
  if (taken_[i]) {
    slots_[i] = pool_.take();
    taken_[i] = false;
  }
  auto& vectors = vectors_[i];
  size_t count = 0;
  if (layout_.head_bytes > 0) {
    vectors[count++] = {.iov_base = heads_.data() + i * layout_.head_bytes,
                        .iov_len = layout_.head_bytes};
  }
  const MutableBytes room = pool_.room(slots_[i]);
  vectors[count++] = {.iov_base = room.data(), .iov_len = room.size()};
  if (layout_.spill_bytes > 0) {
    const size_t stride = room.size() + layout_.spill_bytes;
    vectors[count++] = {.iov_base = spill_.data() + i * stride + room.size(),
                        .iov_len = layout_.spill_bytes};
  }
  messages_[i] = {.msg_hdr = {.msg_name = &names_[i],
                              .msg_namelen = sizeof names_[i],
                              .msg_iov = vectors.data(),
                              .msg_iovlen = count,
                              .msg_control = controls_[i].bytes.data(),
                              .msg_controllen = kControlBytes,
                              .msg_flags = 0},
                  .msg_len = 0};
}

size_t ReceiveBatch::receive(int fd) {
  for (size_t i = 0; i < used_; ++i) prepare(i);
  used_ = 0;
  failed_ = false;
  const int count = ::recvmmsg(fd, messages_.data(), kMessages, MSG_DONTWAIT, nullptr);
  if (count < 0) {
    failed_ = errno != EAGAIN && errno != EINTR;
    return 0;
  }
  clocks_ = ClockPair::now();
  used_ = static_cast<size_t>(count);
  return used_;
}

MutableBytes ReceiveBatch::whole(size_t i) {
  if (fits(i)) return packet(i);
  const MutableBytes room = pool_.room(slots_[i]);
  uint8_t* start = spill_.data() + i * (room.size() + layout_.spill_bytes);
  std::memcpy(start, room.data(), room.size());
  return {start, std::min(size(i), room.size() + layout_.spill_bytes)};
}

Instant ReceiveBatch::at(size_t i) const {
  // CMSG_NXTHDR wants a message that is not const.
  msghdr header = messages_[i].msg_hdr;
  for (cmsghdr* c = CMSG_FIRSTHDR(&header); c != nullptr; c = CMSG_NXTHDR(&header, c)) {
    if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_TIMESTAMPNS) continue;
    timespec stamp{};
    std::memcpy(&stamp, CMSG_DATA(c), sizeof stamp);
    return clocks_.to_monotonic(stamp.tv_sec * 1'000'000'000 + stamp.tv_nsec);
  }
  return clocks_.monotonic;
}

uint8_t ReceiveBatch::traffic_class(size_t i) const {
  msghdr header = messages_[i].msg_hdr;
  for (cmsghdr* c = CMSG_FIRSTHDR(&header); c != nullptr; c = CMSG_NXTHDR(&header, c)) {
    if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_TOS) return *CMSG_DATA(c);
    if (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_TCLASS) {
      int value = 0;
      std::memcpy(&value, CMSG_DATA(c), sizeof value);
      return static_cast<uint8_t>(value);
    }
  }
  return 0;
}

Slot ReceiveBatch::take(size_t i) {
  taken_[i] = true;
  pool_.info(slots_[i]).size = static_cast<uint32_t>(size(i));
  return slots_[i];
}

}  // namespace masque::linkemu
