// SPDX-License-Identifier: Apache-2.0
#include "host/network_monitor.h"

#include <linux/netlink.h>

#include <array>
#include <cerrno>

#include "host/netlink_message.h"
#include "host/system.h"

namespace masque {
namespace {

constexpr std::array kGroups = {RTNLGRP_LINK, RTNLGRP_IPV4_IFADDR, RTNLGRP_IPV6_IFADDR,
                                RTNLGRP_IPV4_ROUTE, RTNLGRP_IPV6_ROUTE};
constexpr uint32_t kDefaultTable = 253;
constexpr int kBufferBytes = 1 << 20;

using Kind = NetworkEvent::Kind;

std::optional<NetworkEvent> to_event(const nlmsghdr* message) {
  switch (message->nlmsg_type) {
    case RTM_NEWLINK:
    case RTM_DELLINK: {
      Link link = parse_link(message);
      return NetworkEvent{
          .kind = message->nlmsg_type == RTM_NEWLINK ? Kind::LinkChanged : Kind::LinkRemoved,
          .interface = link.index,
          .interface_name = std::move(link.name),
          .link_up = link.up && link.running,
          .link_mtu = link.mtu};
    }
    case RTM_NEWADDR:
    case RTM_DELADDR: {
      NetworkEvent event{.kind = message->nlmsg_type == RTM_NEWADDR ? Kind::AddressAdded
                                                                    : Kind::AddressRemoved};
      const auto entry = parse_address(message, event.interface);
      if (!entry) return std::nullopt;
      event.address = entry->address;
      return event;
    }
    case RTM_NEWROUTE:
    case RTM_DELROUTE: {
      const auto route = parse_route(message);
      if (!route) return std::nullopt;
      if (route->table == kLocalTable)
        return NetworkEvent{.kind = Kind::LocalRoutesChanged,
                            .interface = route->interface,
                            .destination = route->destination};
      if (route->table != kMainTable && route->table != kDefaultTable) return std::nullopt;
      return NetworkEvent{
          .kind = message->nlmsg_type == RTM_NEWROUTE ? Kind::RouteChanged : Kind::RouteRemoved,
          .interface = route->interface,
          .destination = route->destination};
    }
    default:
      return std::nullopt;
  }
}

}  // namespace

struct NetworkMonitor::Impl {
  UniqueFd fd;
  alignas(nlmsghdr) std::array<uint8_t, 32 * 1024> buffer;
};

NetworkMonitor::NetworkMonitor(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
NetworkMonitor::~NetworkMonitor() = default;
NetworkMonitor::NetworkMonitor(NetworkMonitor&&) noexcept = default;
NetworkMonitor& NetworkMonitor::operator=(NetworkMonitor&&) noexcept = default;

Result<NetworkMonitor, SysError> NetworkMonitor::create() {
  auto impl = std::make_unique<Impl>();
  TRY(impl->fd, sys::socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE));
  sockaddr_nl name{};
  name.nl_family = AF_NETLINK;
  TRY_VOID(sys::bind(impl->fd.get(), reinterpret_cast<const sockaddr*>(&name), sizeof name));
  (void)sys::set_option(impl->fd.get(), SOL_SOCKET, SO_RCVBUF, kBufferBytes, "SO_RCVBUF");
  for (const int group : kGroups) {
    TRY_VOID(sys::set_option(impl->fd.get(), SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, group,
                             "NETLINK_ADD_MEMBERSHIP"));
  }
  return NetworkMonitor(std::move(impl));
}

int NetworkMonitor::fd() const { return impl_->fd.get(); }

Result<void, SysError> NetworkMonitor::poll_events(std::vector<NetworkEvent>& events) {
  const size_t limit = events.size() + kEventsPerPoll;
  while (events.size() < limit) {
    const auto got = sys::receive(impl_->fd.get(), impl_->buffer);
    if (!got) {
      if (sys::would_block(got.error())) return {};
      if (got.error().code != ENOBUFS) return sys::failure(got.error().code, "watch the network");
      events.push_back({.kind = Kind::Overrun});
      continue;
    }
    int rest = static_cast<int>(*got);
    for (const auto* message = reinterpret_cast<const nlmsghdr*>(impl_->buffer.data());
         mnl_nlmsg_ok(message, rest); message = mnl_nlmsg_next(message, &rest)) {
      if (auto event = to_event(message)) events.push_back(std::move(*event));
    }
  }
  return {};
}

}  // namespace masque
