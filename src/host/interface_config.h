// SPDX-License-Identifier: Apache-2.0
// Brings a TUN interface to a wanted state {addresses, routes, MTU}, by difference, on a live
// device: new things are added before old ones are removed, so that no packet meets a gap.
//
// No routing loop (protocol.md Z6). A route that covers an outer address (that of the server) would
// swallow our own UDP packets. Such a route R goes into a table T of its own:
//     fwmark M goto end                             the UDP socket's packets, marked M, pass it by
//     to R lookup main suppress_prefixlength len(R)    main's longer prefixes still win
//     to R lookup T
//     end: nop
// Marked packets are routed as if the tunnel were not there, the kernel's longest-prefix order is
// kept exactly for all others, and nothing has to follow the changes of the underlying network. A
// default route is always done so, for the host has one of its own already. All other routes are
// ordinary routes of the main table.
//
// IPv6: no link-local address, no router solicitations, no duplicate address detection: the tunnel
// carries no chatter of its own. MTU below 1280: the kernel removes IPv6 from the interface.
//
// Rules and settings outlive a crashed process (routes and addresses vanish with the TUN): start()
// removes those of an earlier run with the same mark, remove() and the destructor remove ours.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"
#include "core/ip/address.h"
#include "host/netlink.h"
#include "host/return_path.h"

namespace masque {

struct InterfaceState {
  std::vector<InterfaceAddress> addresses;
  std::vector<IpPrefix> routes;
  uint32_t mtu = 1280;
  std::vector<IpAddress> outer;  // addresses that must stay reachable outside the tunnel
  friend bool operator==(const InterfaceState&, const InterfaceState&) = default;
};

struct ApplyReport {
  // Wanted routes that somebody else has already on another interface; theirs was left alone.
  std::vector<IpPrefix> conflicts;
  // IPv6 is off on this host or interface: what was wanted of it was passed over.
  bool ipv6_unavailable = false;
  // The kernel's strict reverse path filter (rp_filter = 1) will drop the server's packets, and
  // return_path.h could not be set up to prevent it; the reason is logged.
  bool return_path_blocked = false;
  uint32_t changes = 0;  // requests to the kernel that changed something
};

struct TunnelInterfaceOptions {
  std::string name;     // of an existing TUN device
  uint32_t metric = 0;  // of our routes
  // 0: from the interface's name, the same in every run.
  uint32_t mark = 0;           // of outer sockets, and the number of table T; see tunnel_mark()
  uint32_t rule_priority = 0;  // first of kRulePriorities priorities
  std::string note;            // of the settings that return_path.h changes; see setting_changes.h
};

constexpr uint32_t kRulePriorities = 260;
// What SO_MARK must be on the sockets that carry this interface's tunnel.
uint32_t tunnel_mark(const std::string& interface_name);

struct InterfacePlan;

class TunnelInterface {
 public:
  static constexpr size_t kRoutesMax = 4096;
  static constexpr size_t kAddressesMax = 64;

  // Finds the device, silences its IPv6 chatter, removes stale rules, brings it up.
  static Result<TunnelInterface, SysError> start(const TunnelInterfaceOptions& options);
  ~TunnelInterface();
  TunnelInterface(TunnelInterface&& other) noexcept;
  TunnelInterface& operator=(TunnelInterface&&) = delete;

  // What is already so is not touched. After an error the state may be partly applied; apply again.
  Result<ApplyReport, SysError> apply(const InterfaceState& wanted);
  // Rules, routes and addresses of ours; the link stays. Called by the destructor.
  void remove();

  uint32_t index() const { return index_; }
  uint32_t mark() const { return options_.mark; }

 private:
  TunnelInterface(TunnelInterfaceOptions options, uint32_t index, Netlink netlink);
  Result<void, SysError> add_missing(const InterfacePlan& plan, ApplyReport& report);
  Result<uint32_t, SysError> remove_surplus(const InterfacePlan& plan);
  void wait_for_addresses(const InterfacePlan& plan);
  void open_return_path(const InterfacePlan& plan, ApplyReport& report);
  Result<std::vector<Route>, SysError> our_routes();
  Result<std::vector<PolicyRule>, SysError> our_rules();

  TunnelInterfaceOptions options_;
  uint32_t index_ = 0;
  Netlink netlink_;
  ReturnPath return_path_;
  bool active_ = true;
};

}  // namespace masque
