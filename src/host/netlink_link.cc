// SPDX-License-Identifier: Apache-2.0
// Links and their addresses.
#include <linux/if_addr.h>
#include <linux/if_link.h>
#include <net/if.h>

#include <cerrno>
#include <format>

#include "host/netlink_message.h"
#include "host/system.h"

namespace masque {
namespace {

Result<Link, SysError> read_link(Netlink::Impl& impl, NetlinkRequest& request,
                                 const std::string& operation) {
  std::optional<Link> found;
  TRY_VOID(impl.transact(request, operation, [&](const nlmsghdr* message) {
    if (message->nlmsg_type == RTM_NEWLINK) found = parse_link(message);
  }));
  if (!found) return sys::failure(ENODEV, operation);
  return *found;
}

Result<void, SysError> change_address(Netlink::Impl& impl, uint16_t type, int flags, uint32_t index,
                                      const InterfaceAddress& entry, const std::string& operation) {
  NetlinkRequest request(type, flags);
  auto& header = request.header<ifaddrmsg>();
  header.ifa_family = static_cast<uint8_t>(family_of(entry.address.version()));
  header.ifa_prefixlen = entry.length;
  header.ifa_index = index;
  request.put(IFA_LOCAL, entry.address);
  request.put(IFA_ADDRESS, entry.address);
  if (type == RTM_NEWADDR) {
    // Whoever assigns addresses over a tunnel made sure that they are unique: no DAD. Routes are
    // ours.
    const uint32_t no_dad = entry.address.version() == IpVersion::V6 ? IFA_F_NODAD : 0;
    request.put_u32(IFA_FLAGS, no_dad | IFA_F_NOPREFIXROUTE);
  }
  return impl.transact(request, operation);
}

// A message that changes one link, still without attributes.
NetlinkRequest link_change(uint32_t index) {
  NetlinkRequest request(RTM_NEWLINK, 0);
  request.header<ifinfomsg>().ifi_index = static_cast<int>(index);
  return request;
}

}  // namespace

Link parse_link(const nlmsghdr* message) {
  const auto* header = static_cast<const ifinfomsg*>(mnl_nlmsg_get_payload(message));
  const NetlinkAttributes attributes(message, sizeof *header);
  return {.index = static_cast<uint32_t>(header->ifi_index),
          .name = attributes.text(IFLA_IFNAME).value_or(""),
          .mtu = attributes.u32(IFLA_MTU).value_or(0),
          .up = (header->ifi_flags & IFF_UP) != 0,
          .running = (header->ifi_flags & IFF_RUNNING) != 0};
}

std::optional<InterfaceAddress> parse_address(const nlmsghdr* message, uint32_t& interface) {
  const auto* header = static_cast<const ifaddrmsg*>(mnl_nlmsg_get_payload(message));
  const NetlinkAttributes attributes(message, sizeof *header);
  interface = header->ifa_index;
  // On a point-to-point link IFA_ADDRESS is the peer's.
  auto address = attributes.address(IFA_LOCAL);
  if (!address) address = attributes.address(IFA_ADDRESS);
  if (!address) return std::nullopt;
  return InterfaceAddress{.address = *address, .length = header->ifa_prefixlen};
}

Result<Link, SysError> Netlink::link(const std::string& name) {
  const std::string operation = std::format("look at interface {}", name);
  if (name.empty() || name.size() >= IFNAMSIZ) return sys::failure(ENODEV, operation);
  NetlinkRequest request(RTM_GETLINK, 0);
  request.header<ifinfomsg>();
  request.put_text(IFLA_IFNAME, name);
  return read_link(*impl_, request, operation);
}

Result<Link, SysError> Netlink::link(uint32_t index) {
  NetlinkRequest request(RTM_GETLINK, 0);
  request.header<ifinfomsg>().ifi_index = static_cast<int>(index);
  return read_link(*impl_, request, std::format("look at interface {}", index));
}

Result<void, SysError> Netlink::set_up(uint32_t index) {
  NetlinkRequest request(RTM_NEWLINK, 0);
  auto& header = request.header<ifinfomsg>();
  header.ifi_index = static_cast<int>(index);
  header.ifi_flags = header.ifi_change = IFF_UP;
  return impl_->transact(request, std::format("set interface {} up", index));
}

Result<void, SysError> Netlink::set_down(uint32_t index) {
  NetlinkRequest request(RTM_NEWLINK, 0);
  auto& header = request.header<ifinfomsg>();
  header.ifi_index = static_cast<int>(index);
  header.ifi_change = IFF_UP;
  return impl_->transact(request, std::format("set interface {} down", index));
}

Result<void, SysError> Netlink::set_mtu(uint32_t index, uint32_t mtu) {
  NetlinkRequest request = link_change(index);
  request.put_u32(IFLA_MTU, mtu);
  return impl_->transact(request, std::format("set the MTU of interface {} to {}", index, mtu));
}

Result<void, SysError> Netlink::disable_link_local(uint32_t index) {
  NetlinkRequest request = link_change(index);
  nlattr* families = request.nest(IFLA_AF_SPEC);
  nlattr* v6 = request.nest(AF_INET6);
  request.put_u8(IFLA_INET6_ADDR_GEN_MODE, IN6_ADDR_GEN_MODE_NONE);
  request.end_nest(v6);
  request.end_nest(families);
  return impl_->transact(request,
                         std::format("disable link-local addresses on interface {}", index));
}

Result<std::vector<InterfaceAddress>, SysError> Netlink::addresses(uint32_t index) {
  std::vector<InterfaceAddress> found;
  TRY_VOID(impl_->dump(
      [&] {
        NetlinkRequest request(RTM_GETADDR, NLM_F_DUMP);
        request.header<ifaddrmsg>().ifa_index = index;
        return request;
      },
      "list addresses", [&] { found.clear(); },
      [&](const nlmsghdr* message) {
        uint32_t interface = 0;
        const auto entry = parse_address(message, interface);
        if (entry && (index == 0 || interface == index)) found.push_back(*entry);
      }));
  return found;
}

Result<void, SysError> Netlink::add_address(uint32_t index, const InterfaceAddress& entry) {
  const auto operation = std::format("add address {}/{} to interface {}", entry.address.to_string(),
                                     entry.length, index);
  auto done =
      change_address(*impl_, RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, index, entry, operation);
  if (!done && done.error().code == EEXIST) return {};
  return done;
}

Result<void, SysError> Netlink::remove_address(uint32_t index, const InterfaceAddress& entry) {
  const auto operation = std::format("remove address {}/{} from interface {}",
                                     entry.address.to_string(), entry.length, index);
  auto done = change_address(*impl_, RTM_DELADDR, 0, index, entry, operation);
  if (!done && (done.error().code == EADDRNOTAVAIL || done.error().code == ENODEV)) return {};
  return done;
}

}  // namespace masque
