// SPDX-License-Identifier: Apache-2.0
#include "host/interface_config.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <format>
#include <tuple>
#include <utility>

#include "base/log.h"
#include "host/clock.h"
#include "host/interface_plan.h"
#include "host/system.h"

namespace masque {
namespace {

constexpr std::array kVersions = {IpVersion::V4, IpVersion::V6};
constexpr uint32_t kIpv6DefaultMetric = 1024;
constexpr Duration kAddressPatience = 250ms;

// Absent files (no IPv6) and read-only ones (containers) are no fault: these only spare chatter.
void write_setting(const std::string& family, const std::string& name, const std::string& key,
                   const char* value) {
  (void)sys::write_file(std::format("/proc/sys/net/{}/conf/{}/{}", family, name, key), value);
}

void silence(const std::string& name) {
  for (const char* key :
       {"accept_ra", "router_solicitations", "autoconf", "accept_dad", "accept_redirects"}) {
    write_setting("ipv6", name, key, "0");
  }
  // Without it, removing the first address of a subnet removes the others of that subnet as well.
  write_setting("ipv4", name, "promote_secondaries", "1");
}

bool means_no_ipv6(const SysError& error) {
  return error.code == EACCES || error.code == EAFNOSUPPORT || error.code == EOPNOTSUPP;
}

// What makes a route the same route. The kernel adds its default metric, so a listed route never
// equals the wanted one literally.
auto key_of(const Route& route) {
  const bool default_metric = route.metric == 0 && route.destination.version() == IpVersion::V6;
  return std::tuple(route.destination, route.table,
                    default_metric ? kIpv6DefaultMetric : route.metric);
}

// Thousands of routes are compared while packets wait.
class RouteSet {
 public:
  explicit RouteSet(const std::vector<Route>& routes) {
    keys_.reserve(routes.size());
    for (const Route& route : routes) keys_.push_back(key_of(route));
    std::ranges::sort(keys_);
  }
  bool contains(const Route& route) const {
    return std::ranges::binary_search(keys_, key_of(route));
  }

 private:
  std::vector<decltype(key_of(std::declval<Route>()))> keys_;
};

}  // namespace

TunnelInterface::TunnelInterface(TunnelInterfaceOptions options, uint32_t index, Netlink netlink)
    : options_(std::move(options)),
      index_(index),
      netlink_(std::move(netlink)),
      return_path_(options_.name, options_.mark, options_.note) {}

TunnelInterface::TunnelInterface(TunnelInterface&& other) noexcept
    : options_(std::move(other.options_)),
      index_(other.index_),
      netlink_(std::move(other.netlink_)),
      return_path_(std::move(other.return_path_)),
      active_(std::exchange(other.active_, false)) {}

TunnelInterface::~TunnelInterface() {
  if (active_) remove();
}

Result<TunnelInterface, SysError> TunnelInterface::start(const TunnelInterfaceOptions& given) {
  TunnelInterfaceOptions options = given;
  if (options.mark == 0) options.mark = tunnel_mark(options.name);
  if (options.rule_priority == 0) options.rule_priority = tunnel_rule_priority(options.name);
  TRY(Netlink netlink, Netlink::create());
  TRY(const Link link, netlink.link(options.name));
  TunnelInterface tunnel(std::move(options), link.index, std::move(netlink));
  // Fails without IPv6, which is then no source of chatter.
  (void)tunnel.netlink_.disable_link_local(link.index);
  silence(tunnel.options_.name);
  // What a crashed run left behind; its routes went away with its TUN.
  TRY_VOID(tunnel.remove_surplus({}));
  TRY_VOID(tunnel.netlink_.set_up(link.index));
  return tunnel;
}

Result<ApplyReport, SysError> TunnelInterface::apply(const InterfaceState& wanted) {
  if (wanted.routes.size() > kRoutesMax || wanted.addresses.size() > kAddressesMax) {
    return sys::failure(E2BIG,
                        std::format("apply {} routes and {} addresses to {}", wanted.routes.size(),
                                    wanted.addresses.size(), options_.name));
  }
  const InterfacePlan plan = make_plan(wanted, options_, index_);
  ApplyReport report;
  TRY(const Link link, netlink_.link(index_));
  if (link.mtu != wanted.mtu) {
    TRY_VOID(netlink_.set_mtu(index_, wanted.mtu));
    ++report.changes;
  }
  open_return_path(plan, report);  // before rules that would need it
  TRY_VOID(add_missing(plan, report));
  if (report.changes > 0 && !report.ipv6_unavailable) wait_for_addresses(plan);
  TRY(const uint32_t removed, remove_surplus(plan));
  report.changes += removed;
  // The kernel takes some things along that we did not name (the routes of the last address of a
  // family, secondary addresses): put back what is wanted.
  if (removed > 0) {
    report.conflicts.clear();
    TRY_VOID(add_missing(plan, report));
  }
  return report;
}

void TunnelInterface::open_return_path(const InterfacePlan& plan, ApplyReport& report) {
  const auto done = return_path_.update(plan.covered);
  if (done) return;
  report.return_path_blocked = ReturnPath::kernel_filters_strictly();
  const LogLevel level = report.return_path_blocked ? LogLevel::Warn : LogLevel::Debug;
  if (log_enabled(level)) {
    log(level, "interface.return_path_failed", {{"error", done.error().message()}});
  }
}

// The kernel finishes an IPv6 address in a work queue, after it answered the request; until then it
// drops what arrives for it. Usually below a millisecond, tens of them on a busy machine.
void TunnelInterface::wait_for_addresses(const InterfacePlan& plan) {
  const Instant deadline = monotonic_now() + kAddressPatience;
  for (const InterfaceAddress& entry : plan.addresses) {
    if (entry.address.version() != IpVersion::V6) continue;
    while (true) {
      const auto route = netlink_.route_to(entry.address);
      if (route && route->kind == Route::Kind::Local) break;
      if (monotonic_now() >= deadline) return;
      sys::sleep(1ms);
    }
  }
}

Result<void, SysError> TunnelInterface::add_missing(const InterfacePlan& plan,
                                                    ApplyReport& report) {
  const auto skip = [&report](IpVersion version) {
    return version == IpVersion::V6 && report.ipv6_unavailable;
  };
  TRY(const auto addresses, netlink_.addresses(index_));
  for (const InterfaceAddress& address : plan.addresses) {
    const IpVersion version = address.address.version();
    if (skip(version) || std::ranges::contains(addresses, address)) continue;
    auto done = netlink_.add_address(index_, address);
    if (!done && version == IpVersion::V6 && means_no_ipv6(done.error())) {
      report.ipv6_unavailable = true;
      continue;
    }
    TRY_VOID(std::move(done));
    ++report.changes;
  }
  TRY(const auto routes, our_routes());
  const RouteSet present(routes);
  for (const Route& route : plan.routes) {
    if (skip(route.destination.version()) || present.contains(route)) continue;
    const Existing existing = route.table == kMainTable ? Existing::Keep : Existing::Replace;
    auto done = netlink_.add_route(route, existing);
    if (!done && done.error().code == EEXIST) {
      report.conflicts.push_back(route.destination);
      continue;
    }
    if (!done && route.destination.version() == IpVersion::V6 && means_no_ipv6(done.error())) {
      report.ipv6_unavailable = true;
      continue;
    }
    TRY_VOID(std::move(done));
    ++report.changes;
  }
  TRY(const auto rules, our_rules());
  for (const PolicyRule& rule : plan.rules) {
    if (skip(rule.version) || std::ranges::contains(rules, rule)) continue;
    TRY_VOID(netlink_.add_rule(rule));
    ++report.changes;
  }
  return {};
}

// Rules go first and backwards: what catches packets before the jump that spares the marked ones.
Result<uint32_t, SysError> TunnelInterface::remove_surplus(const InterfacePlan& plan) {
  uint32_t removed = 0;
  TRY(auto rules, our_rules());
  std::ranges::sort(rules, std::ranges::greater(), [this](const PolicyRule& rule) {
    const uint32_t end = options_.rule_priority + kRulePriorities - 1;
    return rule.priority == end ? 0 : rule.priority;
  });
  for (const PolicyRule& rule : rules) {
    if (std::ranges::contains(plan.rules, rule)) continue;
    TRY_VOID(netlink_.remove_rule(rule));
    ++removed;
  }
  TRY(const auto routes, our_routes());
  const RouteSet wanted(plan.routes);
  for (const Route& route : routes) {
    if (route.protocol != kRouteProtocol || wanted.contains(route)) continue;
    TRY_VOID(netlink_.remove_route(route));
    ++removed;
  }
  TRY(const auto addresses, netlink_.addresses(index_));
  for (const InterfaceAddress& address : addresses) {
    if (std::ranges::contains(plan.addresses, address)) continue;
    TRY_VOID(netlink_.remove_address(index_, address));
    ++removed;
  }
  return removed;
}

Result<std::vector<Route>, SysError> TunnelInterface::our_routes() {
  std::vector<Route> all;
  for (const IpVersion version : kVersions) {
    for (const uint32_t table : {kMainTable, options_.mark}) {
      auto some = netlink_.routes(version, table, index_);
      if (!some && version == IpVersion::V6 && means_no_ipv6(some.error())) continue;
      if (!some) return std::unexpected(std::move(some).error());
      all.insert(all.end(), some->begin(), some->end());
    }
  }
  return all;
}

Result<std::vector<PolicyRule>, SysError> TunnelInterface::our_rules() {
  std::vector<PolicyRule> ours;
  for (const IpVersion version : kVersions) {
    auto rules = netlink_.rules(version);
    if (!rules && version == IpVersion::V6 && means_no_ipv6(rules.error())) continue;
    if (!rules) return std::unexpected(std::move(rules).error());
    for (const PolicyRule& rule : *rules) {
      const bool in_window = rule.priority >= options_.rule_priority &&
                             rule.priority < options_.rule_priority + kRulePriorities;
      const bool to_our_table =
          rule.action == PolicyRule::Action::Lookup && rule.table == options_.mark;
      if (rule.protocol == kRouteProtocol && (in_window || to_our_table)) ours.push_back(rule);
    }
  }
  return ours;
}

void TunnelInterface::remove() {
  active_ = false;
  (void)return_path_.update({});
  if (const auto done = remove_surplus({}); !done && done.error().code != ENODEV) {
    log_warn("interface.remove_failed",
             {{"interface", options_.name}, {"error", done.error().message()}});
  }
}

}  // namespace masque
