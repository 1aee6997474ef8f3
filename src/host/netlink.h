// SPDX-License-Identifier: Apache-2.0
// Links, addresses, routes and policy rules through rtnetlink. Every call is one request and its
// answer, synchronous: the kernel answers at once. Adding what exists and removing what is gone
// succeed, so that callers can state what they want again and again.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "core/ip/address.h"

namespace masque {

constexpr uint32_t kMainTable = 254;
constexpr uint32_t kLocalTable = 255;  // the kernel's own: what it takes for this host
// Marks our routes and rules (rtm_protocol, FRA_PROTOCOL), so that stale ones can be told apart.
constexpr uint8_t kRouteProtocol = 77;

struct Link {
  uint32_t index = 0;
  std::string name;
  uint32_t mtu = 0;
  bool up = false;       // administratively
  bool running = false;  // has a carrier
};

// An address on an interface: unlike IpPrefix it has host bits.
struct InterfaceAddress {
  IpAddress address;
  uint8_t length = 32;
  friend auto operator<=>(const InterfaceAddress&, const InterfaceAddress&) = default;
};

struct Route {
  IpPrefix destination;
  uint32_t interface = 0;  // index; 0 = by gateway or for a blackhole
  std::optional<IpAddress> gateway;
  std::optional<IpAddress> source;  // preferred source
  uint32_t table = kMainTable;
  uint32_t metric = 0;  // 0: the kernel's default (IPv6: 1024)
  uint8_t protocol = kRouteProtocol;
  enum class Kind : uint8_t { Unicast, Blackhole, Unreachable, Local, Other } kind = Kind::Unicast;
  friend bool operator==(const Route&, const Route&) = default;
};

// The kernel inverts all of a rule's selectors together, so there is no `not`: marked packets are
// led past other rules with Goto, whose target is a Nothing rule.
struct PolicyRule {
  enum class Action : uint8_t {
    Lookup,   // in `table`
    Goto,     // the rule with priority `target`
    Nothing,  // passes on to the next rule
    Other,    // only read: prohibit, blackhole...
  };
  IpVersion version = IpVersion::V4;
  uint32_t priority = 0;
  Action action = Action::Lookup;
  uint32_t table = 0;
  uint32_t target = 0;
  std::optional<IpPrefix> destination;
  std::optional<uint32_t> mark;
  std::optional<uint32_t> suppress_prefix_length;  // routes of at most this length do not count
  uint8_t protocol = kRouteProtocol;
  friend bool operator==(const PolicyRule&, const PolicyRule&) = default;
};

enum class Existing : uint8_t {
  Keep,     // EEXIST is an error: somebody else's route is not overwritten
  Replace,  // same destination, table and metric: taken over in one step, without a gap
};

class Netlink {
 public:
  static Result<Netlink, SysError> create();
  ~Netlink();
  Netlink(Netlink&&) noexcept;
  Netlink& operator=(Netlink&&) noexcept;

  // --- links ---
  Result<Link, SysError> link(const std::string& name);  // ENODEV when there is none
  Result<Link, SysError> link(uint32_t index);
  Result<void, SysError> set_up(uint32_t index);
  Result<void, SysError> set_down(uint32_t index);
  Result<void, SysError> set_mtu(uint32_t index, uint32_t mtu);
  // No automatic link-local address (IFLA_INET6_ADDR_GEN_MODE none). Before the link is up.
  Result<void, SysError> disable_link_local(uint32_t index);

  // --- addresses ---
  Result<std::vector<InterfaceAddress>, SysError> addresses(uint32_t index);  // 0: of all links
  // Without duplicate address detection and without the kernel's own prefix route.
  Result<void, SysError> add_address(uint32_t index, const InterfaceAddress& address);
  Result<void, SysError> remove_address(uint32_t index, const InterfaceAddress& address);

  // --- routes ---
  // Of one interface, or of all (0).
  Result<std::vector<Route>, SysError> routes(IpVersion version, uint32_t table,
                                              uint32_t interface = 0);
  Result<void, SysError> add_route(const Route& route, Existing existing);
  Result<void, SysError> remove_route(const Route& route);
  // The route the kernel would take (RTM_GETROUTE); ENETUNREACH when there is none.
  Result<Route, SysError> route_to(const IpAddress& destination, std::optional<uint32_t> mark = {});

  // --- policy rules ---
  Result<std::vector<PolicyRule>, SysError> rules(IpVersion version);
  Result<void, SysError> add_rule(const PolicyRule& rule);
  Result<void, SysError> remove_rule(const PolicyRule& rule);

  struct Impl;  // for the sources of host

 private:
  explicit Netlink(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace masque
