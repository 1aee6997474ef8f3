// SPDX-License-Identifier: Apache-2.0
// Routes and policy rules.
#include <linux/fib_rules.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <format>

#include "host/netlink_message.h"
#include "host/system.h"

namespace masque {
namespace {

uint8_t to_kernel(Route::Kind kind) {
  switch (kind) {
    case Route::Kind::Blackhole:
      return RTN_BLACKHOLE;
    case Route::Kind::Unreachable:
      return RTN_UNREACHABLE;
    case Route::Kind::Local:
      return RTN_LOCAL;
    case Route::Kind::Unicast:
    case Route::Kind::Other:
      return RTN_UNICAST;
  }
  std::unreachable();
}

Route::Kind to_kind(uint8_t type) {
  switch (type) {
    case RTN_UNICAST:
      return Route::Kind::Unicast;
    case RTN_BLACKHOLE:
      return Route::Kind::Blackhole;
    case RTN_UNREACHABLE:
      return Route::Kind::Unreachable;
    case RTN_LOCAL:
      return Route::Kind::Local;
    default:
      return Route::Kind::Other;
  }
}

// Tables above 255 travel in an attribute only.
uint8_t short_table(uint32_t table) {
  return table < 256 ? static_cast<uint8_t>(table) : uint8_t{RT_TABLE_UNSPEC};
}

// A gateway of the other family (RFC 5549) has an attribute of its own.
void put_gateway(NetlinkRequest& request, IpVersion version, const IpAddress& gateway) {
  if (gateway.version() == version) return request.put(RTA_GATEWAY, gateway);
  std::array<uint8_t, sizeof(rtvia) + 16> via{};
  rtvia head{};
  head.rtvia_family = static_cast<__kernel_sa_family_t>(family_of(gateway.version()));
  std::memcpy(via.data(), &head, sizeof head);
  std::memcpy(via.data() + sizeof head, gateway.bytes().data(), gateway.bytes().size());
  request.put_bytes(RTA_VIA, Bytes(via).first(sizeof head + gateway.bytes().size()));
}

NetlinkRequest route_request(uint16_t type, int flags, const Route& route) {
  NetlinkRequest request(type, flags);
  auto& header = request.header<rtmsg>();
  const IpVersion version = route.destination.version();
  header.rtm_family = static_cast<uint8_t>(family_of(version));
  header.rtm_dst_len = route.destination.length();
  header.rtm_table = short_table(route.table);
  header.rtm_protocol = type == RTM_NEWROUTE ? route.protocol : uint8_t{RTPROT_UNSPEC};
  header.rtm_type = to_kernel(route.kind);
  const bool on_link = !route.gateway && route.kind == Route::Kind::Unicast;
  header.rtm_scope = type == RTM_DELROUTE                  ? RT_SCOPE_NOWHERE
                     : on_link && version == IpVersion::V4 ? RT_SCOPE_LINK
                                                           : RT_SCOPE_UNIVERSE;
  request.put_u32(RTA_TABLE, route.table);
  if (route.destination.length() > 0) request.put(RTA_DST, route.destination.address());
  if (route.interface != 0) request.put_u32(RTA_OIF, route.interface);
  if (route.gateway) put_gateway(request, version, *route.gateway);
  if (route.source) request.put(RTA_PREFSRC, *route.source);
  if (route.metric != 0) request.put_u32(RTA_PRIORITY, route.metric);
  return request;
}

std::optional<IpAddress> parse_via(Bytes via) {
  if (via.size() < sizeof(rtvia)) return std::nullopt;
  const auto address = IpAddress::from_bytes(via.subspan(sizeof(rtvia)));
  return address ? std::optional(*address) : std::nullopt;
}

uint8_t to_kernel(PolicyRule::Action action) {
  switch (action) {
    case PolicyRule::Action::Goto:
      return FR_ACT_GOTO;
    case PolicyRule::Action::Nothing:
      return FR_ACT_NOP;
    case PolicyRule::Action::Lookup:
    case PolicyRule::Action::Other:
      return FR_ACT_TO_TBL;
  }
  std::unreachable();
}

PolicyRule::Action to_action(uint8_t action) {
  switch (action) {
    case FR_ACT_TO_TBL:
      return PolicyRule::Action::Lookup;
    case FR_ACT_GOTO:
      return PolicyRule::Action::Goto;
    case FR_ACT_NOP:
      return PolicyRule::Action::Nothing;
    default:
      return PolicyRule::Action::Other;
  }
}

NetlinkRequest rule_request(uint16_t type, int flags, const PolicyRule& rule) {
  NetlinkRequest request(type, flags);
  auto& header = request.header<fib_rule_hdr>();
  header.family = static_cast<uint8_t>(family_of(rule.version));
  header.action = to_kernel(rule.action);
  header.table = short_table(rule.table);
  if (rule.destination) header.dst_len = rule.destination->length();
  request.put_u32(FRA_PRIORITY, rule.priority);
  request.put_u8(FRA_PROTOCOL, rule.protocol);
  if (rule.action == PolicyRule::Action::Lookup) request.put_u32(FRA_TABLE, rule.table);
  if (rule.action == PolicyRule::Action::Goto) request.put_u32(FRA_GOTO, rule.target);
  if (rule.destination && rule.destination->length() > 0)
    request.put(FRA_DST, rule.destination->address());
  if (rule.mark) {
    request.put_u32(FRA_FWMARK, *rule.mark);
    request.put_u32(FRA_FWMASK, 0xffffffff);
  }
  if (rule.suppress_prefix_length)
    request.put_u32(FRA_SUPPRESS_PREFIXLEN, *rule.suppress_prefix_length);
  return request;
}

std::optional<PolicyRule> parse_rule(const nlmsghdr* message) {
  const auto* header = static_cast<const fib_rule_hdr*>(mnl_nlmsg_get_payload(message));
  const NetlinkAttributes attributes(message, sizeof *header);
  if (header->family != AF_INET && header->family != AF_INET6) return std::nullopt;
  PolicyRule rule{
      .version = header->family == AF_INET ? IpVersion::V4 : IpVersion::V6,
      .priority = attributes.u32(FRA_PRIORITY).value_or(0),
      .action = to_action(header->action),
      .table = attributes.u32(FRA_TABLE).value_or(header->table),
      .target = attributes.u32(FRA_GOTO).value_or(0),
      .mark = attributes.u32(FRA_FWMARK),
      .suppress_prefix_length = attributes.u32(FRA_SUPPRESS_PREFIXLEN),
      .protocol = attributes.u8(FRA_PROTOCOL).value_or(0),
  };
  if (rule.action != PolicyRule::Action::Lookup) rule.table = 0;
  if (rule.suppress_prefix_length == 0xffffffff)
    rule.suppress_prefix_length.reset();  // the kernel's "none"
  if (const auto destination = attributes.address(FRA_DST)) {
    rule.destination = IpPrefix::containing(*destination, header->dst_len);
  }
  return rule;
}

std::string describe(const PolicyRule& rule) {
  return std::format("policy rule {} for IPv{}", rule.priority, static_cast<int>(rule.version));
}

}  // namespace

std::optional<Route> parse_route(const nlmsghdr* message) {
  const auto* header = static_cast<const rtmsg*>(mnl_nlmsg_get_payload(message));
  const NetlinkAttributes attributes(message, sizeof *header);
  if (header->rtm_family != AF_INET && header->rtm_family != AF_INET6) return std::nullopt;
  if ((header->rtm_flags & RTM_F_CLONED) != 0) return std::nullopt;  // a cache entry, not a route
  const IpVersion version = header->rtm_family == AF_INET ? IpVersion::V4 : IpVersion::V6;
  const IpAddress destination = attributes.address(RTA_DST).value_or(IpAddress::any(version));
  Route route{
      .destination = IpPrefix::containing(destination, header->rtm_dst_len),
      .interface = attributes.u32(RTA_OIF).value_or(0),
      .gateway = attributes.address(RTA_GATEWAY),
      .source = attributes.address(RTA_PREFSRC),
      .table = attributes.u32(RTA_TABLE).value_or(header->rtm_table),
      .metric = attributes.u32(RTA_PRIORITY).value_or(0),
      .protocol = header->rtm_protocol,
      .kind = to_kind(header->rtm_type),
  };
  if (const auto via = attributes.bytes(RTA_VIA)) route.gateway = parse_via(*via);
  return route;
}

Result<std::vector<Route>, SysError> Netlink::routes(IpVersion version, uint32_t table,
                                                     uint32_t interface) {
  std::vector<Route> found;
  auto done = impl_->dump(
      [&] {
        NetlinkRequest request(RTM_GETROUTE, NLM_F_DUMP);
        auto& header = request.header<rtmsg>();
        header.rtm_family = static_cast<uint8_t>(family_of(version));
        request.put_u32(RTA_TABLE, table);
        if (interface != 0) request.put_u32(RTA_OIF, interface);
        return request;
      },
      "list routes", [&] { found.clear(); },
      [&](const nlmsghdr* message) {
        const auto route = parse_route(message);
        if (!route || route->table != table) return;  // kernels before 4.20 do not filter
        if (interface == 0 || route->interface == interface) found.push_back(*route);
      });
  if (!done && done.error().code == ENOENT) return found;  // a table that was never used
  TRY_VOID(std::move(done));
  return found;
}

Result<void, SysError> Netlink::add_route(const Route& route, Existing existing) {
  const int flags = NLM_F_CREATE | (existing == Existing::Replace ? NLM_F_REPLACE : NLM_F_EXCL);
  NetlinkRequest request = route_request(RTM_NEWROUTE, flags, route);
  return impl_->transact(request, std::format("add route {}", route.destination.to_string()));
}

Result<void, SysError> Netlink::remove_route(const Route& route) {
  NetlinkRequest request = route_request(RTM_DELROUTE, 0, route);
  auto done =
      impl_->transact(request, std::format("remove route {}", route.destination.to_string()));
  if (!done && (done.error().code == ESRCH || done.error().code == ENODEV)) return {};
  return done;
}

Result<Route, SysError> Netlink::route_to(const IpAddress& destination,
                                          std::optional<uint32_t> mark) {
  const std::string operation = std::format("find a route to {}", destination.to_string());
  NetlinkRequest request(RTM_GETROUTE, 0);
  auto& header = request.header<rtmsg>();
  header.rtm_family = static_cast<uint8_t>(family_of(destination.version()));
  header.rtm_dst_len = address_bits(destination.version());
  request.put(RTA_DST, destination);
  if (mark) request.put_u32(RTA_MARK, *mark);
  std::optional<Route> found;
  TRY_VOID(impl_->transact(request, operation, [&](const nlmsghdr* message) {
    // The answer is marked as a cache entry, which parse_route() passes over.
    auto* answer = static_cast<rtmsg*>(mnl_nlmsg_get_payload(message));
    answer->rtm_flags &= ~unsigned{RTM_F_CLONED};
    found = parse_route(message);
  }));
  if (!found) return sys::failure(ENETUNREACH, operation);
  if (found->kind == Route::Kind::Unreachable || found->kind == Route::Kind::Blackhole) {
    return sys::failure(ENETUNREACH, operation);
  }
  return *found;
}

Result<std::vector<PolicyRule>, SysError> Netlink::rules(IpVersion version) {
  std::vector<PolicyRule> found;
  TRY_VOID(impl_->dump(
      [&] {
        NetlinkRequest request(RTM_GETRULE, NLM_F_DUMP);
        request.header<fib_rule_hdr>().family = static_cast<uint8_t>(family_of(version));
        return request;
      },
      "list policy rules", [&] { found.clear(); },
      [&](const nlmsghdr* message) {
        if (const auto rule = parse_rule(message)) found.push_back(*rule);
      }));
  return found;
}

Result<void, SysError> Netlink::add_rule(const PolicyRule& rule) {
  NetlinkRequest request = rule_request(RTM_NEWRULE, NLM_F_CREATE | NLM_F_EXCL, rule);
  auto done = impl_->transact(request, "add " + describe(rule));
  if (!done && done.error().code == EEXIST) return {};
  return done;
}

Result<void, SysError> Netlink::remove_rule(const PolicyRule& rule) {
  NetlinkRequest request = rule_request(RTM_DELRULE, 0, rule);
  auto done = impl_->transact(request, "remove " + describe(rule));
  if (!done && done.error().code == ENOENT) return {};
  return done;
}

}  // namespace masque
