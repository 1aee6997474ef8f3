// SPDX-License-Identifier: Apache-2.0
#include "linkemu/relay.h"

#include <netinet/in.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "host/clock.h"
#include "host/socket_name.h"
#include "host/system.h"

namespace masque::linkemu {

namespace {

constexpr int kBufferBytes = 8 * 1024 * 1024;
constexpr size_t kDatagramDefault = 2048;
constexpr size_t kUdpHeader = 8;
constexpr size_t kMtuNone = 65'535;

size_t headers_of(const SocketAddress& address) {
  return kUdpHeader + (address.address.version() == IpVersion::V4 ? 20U : 40U);
}

int family_of(const SocketAddress& address) {
  return address.address.version() == IpVersion::V4 ? AF_INET : AF_INET6;
}

// A buffer beyond the system's limit needs rights that a relay does not ask for.
bool set_buffer(int fd, int forced, int plain) {
  return sys::set_option(fd, SOL_SOCKET, forced, kBufferBytes, "buffer") ||
         sys::set_option(fd, SOL_SOCKET, plain, kBufferBytes, "buffer");
}

Result<UniqueFd, SysError> udp_socket(const SocketAddress& like) {
  TRY(UniqueFd fd, sys::socket(family_of(like), SOCK_DGRAM, 0));
  TRY_VOID(sys::set_option(fd.get(), SOL_SOCKET, SO_TIMESTAMPNS, 1, "SO_TIMESTAMPNS"));
  const bool v4 = family_of(like) == AF_INET;
  TRY_VOID(sys::set_option(fd.get(), v4 ? IPPROTO_IP : IPPROTO_IPV6,
                           v4 ? IP_RECVTOS : IPV6_RECVTCLASS, 1, "receiving ECN"));
  set_buffer(fd.get(), SO_RCVBUFFORCE, SO_RCVBUF);
  set_buffer(fd.get(), SO_SNDBUFFORCE, SO_SNDBUF);
  return fd;
}

}  // namespace

struct Relay::Outgoing {
  static constexpr size_t kMessages = 64;
  struct alignas(cmsghdr) Control {
    std::array<uint8_t, CMSG_SPACE(sizeof(int))> bytes{};
  };
  std::array<mmsghdr, kMessages> messages{};
  std::array<iovec, kMessages> vectors{};
  std::array<SocketName, kMessages> names{};
  std::array<Control, kMessages> controls{};
};

size_t Relay::datagram_size_max(const std::array<LinkPlan, 2>& plans) {
  size_t size = kDatagramDefault;
  for (const LinkPlan& plan : plans) {
    if (plan.options.mtu < kMtuNone) size = std::max(size, plan.options.mtu);
  }
  return size;
}

Result<std::unique_ptr<Relay>, SysError> Relay::create(const Options& options, PacketPool& pool) {
  TRY(UniqueFd fd, udp_socket(options.listen));
  const SocketName name = to_socket_name(options.listen);
  TRY_VOID(sys::bind(fd.get(), &name.any, name.length));
  return std::unique_ptr<Relay>(new Relay(std::move(fd), options.target, options.flows_max, pool));
}

Relay::Relay(UniqueFd listening, const SocketAddress& target, size_t flows_max, PacketPool& pool)
    : listening_(std::move(listening)),
      target_(target),
      flows_max_(flows_max),
      pool_(pool),
      batch_(pool, {}),
      outgoing_(std::make_unique<Outgoing>()) {}

Relay::~Relay() = default;

Result<void, SysError> Relay::watch(int epoll) {
  epoll_ = epoll;
  epoll_event event{.events = EPOLLIN, .data = {.u64 = kListening}};
  if (::epoll_ctl(epoll, EPOLL_CTL_ADD, listening_.get(), &event) < 0) {
    return sys::failure("epoll_ctl");
  }
  return {};
}

Result<UniqueFd, SysError> Relay::connect_target() const {
  TRY(UniqueFd fd, udp_socket(target_));
  const SocketName name = to_socket_name(target_);
  TRY_VOID(sys::connect(fd.get(), &name.any, name.length));
  return fd;
}

Relay::Flow* Relay::free_flow(Instant now) {
  if (flows_.size() < flows_max_) return &flows_.emplace_back();
  Flow& oldest = *std::ranges::min_element(flows_, {}, &Flow::used_at);
  if (now - oldest.used_at < kIdleMin) return nullptr;
  by_client_.erase(oldest.client);
  oldest.fd.reset();  // leaves the epoll set by itself
  ++oldest.generation;
  return &oldest;
}

Relay::Flow* Relay::open_flow(const SocketAddress& client, Instant now) {
  // The socket comes first: without one nobody loses a place.
  auto fd = connect_target();
  Flow* flow = fd ? free_flow(now) : nullptr;
  if (flow == nullptr) {
    ++counters_.flows_refused;
    return nullptr;
  }
  size_t index = 0;
  while (&flows_[index] != flow) ++index;
  flow->fd = std::move(*fd);
  flow->client = client;
  by_client_[client] = index;
  ++counters_.flows;
  epoll_event event{.events = EPOLLIN, .data = {.u64 = index + 1}};
  ::epoll_ctl(epoll_, EPOLL_CTL_ADD, flow->fd.get(), &event);
  return flow;
}

Relay::Flow* Relay::flow_of(const SocketAddress& client, Instant now) {
  const auto found = by_client_.find(client);
  Flow* flow = found != by_client_.end() ? &flows_[found->second] : open_flow(client, now);
  if (flow != nullptr) flow->used_at = now;
  return flow;
}

PacketIo::More Relay::receive(uint64_t tag, PacketSink& sink) {
  const Direction direction = tag == kListening ? Direction::Up : Direction::Down;
  Flow* flow = tag == kListening ? nullptr : &flows_[tag - 1];
  const size_t count = batch_.receive(flow == nullptr ? listening_.get() : flow->fd.get());
  // An error is an ICMP message about what we sent before: the packet it speaks of is lost anyway.
  for (size_t i = 0; i < count; ++i) {
    const Instant at = batch_.at(i);
    if (!batch_.fits(i) || batch_.truncated(i)) {
      ++counters_.unreadable;
      continue;
    }
    if (direction == Direction::Up) {
      SocketName name;
      std::memcpy(&name.v6, &batch_.from(i), sizeof name.v6);
      flow = flow_of(to_socket_address(name), at);
      if (flow == nullptr) continue;
    }
    flow->used_at = at;
    const uint8_t traffic_class = batch_.traffic_class(i);
    const Slot slot = batch_.take(i);
    PacketPool::Info& info = pool_.info(slot);
    info.flow = static_cast<uint32_t>(by_client_.at(flow->client));
    info.generation = flow->generation;
    info.traffic_class = traffic_class;
    sink.on_packet(
        {.direction = direction,
         .at = at,
         .slot = slot,
         .ip_size = info.size + headers_of(direction == Direction::Up ? flow->client : target_)});
  }
  return count == ReceiveBatch::kMessages ? More::Maybe : More::No;
}

Relay::Flow* Relay::flow_in(Slot slot) {
  const PacketPool::Info& info = pool_.info(slot);
  Flow& flow = flows_[info.flow];
  return flow.generation == info.generation ? &flow : nullptr;
}

void Relay::send(Direction direction, std::span<const Slot> slots) {
  while (!slots.empty()) {
    size_t count = 1;
    if (direction == Direction::Down) {
      count = std::min(slots.size(), Outgoing::kMessages);
      send_run(listening_.get(), direction, slots.first(count));
    } else if (const Flow* flow = flow_in(slots.front())) {
      // A run of one client's packets goes in one call.
      while (count < std::min(slots.size(), Outgoing::kMessages) && flow_in(slots[count]) == flow) {
        ++count;
      }
      send_run(flow->fd.get(), direction, slots.first(count));
    } else {
      ++counters_.send_failed;
    }
    slots = slots.subspan(count);
  }
}

void Relay::send_run(int fd, Direction direction, std::span<const Slot> slots) {
  Outgoing& out = *outgoing_;
  size_t count = 0;
  for (const Slot slot : slots) {
    const Flow* flow = flow_in(slot);
    if (flow == nullptr) {
      ++counters_.send_failed;
      continue;
    }
    const MutableBytes packet = pool_.packet(slot);
    out.vectors[count] = {.iov_base = packet.data(), .iov_len = packet.size()};
    msghdr& header = out.messages[count].msg_hdr;
    header = {};
    header.msg_iov = &out.vectors[count];
    header.msg_iovlen = 1;
    const SocketAddress& to = direction == Direction::Down ? flow->client : target_;
    if (direction == Direction::Down) {
      out.names[count] = to_socket_name(to);
      header.msg_name = &out.names[count].any;
      header.msg_namelen = out.names[count].length;
    }
    if (const int value = pool_.info(slot).traffic_class; value != 0) {
      header.msg_control = out.controls[count].bytes.data();
      header.msg_controllen = out.controls[count].bytes.size();
      cmsghdr* control = CMSG_FIRSTHDR(&header);
      const bool v4 = family_of(to) == AF_INET;
      control->cmsg_level = v4 ? IPPROTO_IP : IPPROTO_IPV6;
      control->cmsg_type = v4 ? IP_TOS : IPV6_TCLASS;
      control->cmsg_len = CMSG_LEN(sizeof value);
      std::memcpy(CMSG_DATA(control), &value, sizeof value);
    }
    ++count;
  }
  size_t done = 0;
  while (done < count) {
    const int sent = ::sendmmsg(fd, out.messages.data() + done, static_cast<unsigned>(count - done),
                                MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent > 0) {
      done += static_cast<size_t>(sent);
    } else {
      ++counters_.send_failed;  // the first of them: nobody listens there, or the buffer is full
      ++done;
    }
  }
}

}  // namespace masque::linkemu
