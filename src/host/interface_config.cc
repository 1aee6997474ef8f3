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
#include "host/system.h"

namespace masque {
namespace {

constexpr std::array kVersions = {IpVersion::V4, IpVersion::V6};
constexpr uint32_t kMarkPrefix = 0x4d510000;   // "MQ"; the low half comes from the name
constexpr uint32_t kFirstRulePriority = 5000;  // after the local table (0), before main (32766)
constexpr uint32_t kRuleWindows = 96;
constexpr uint32_t kIpv6DefaultMetric = 1024;
constexpr Duration kAddressPatience = 250ms;

uint32_t hash_of(const std::string& name) {
  uint32_t hash = 2166136261;  // FNV-1a
  for (const char c : name) hash = (hash ^ static_cast<uint8_t>(c)) * 16777619;
  return hash ^ hash >> 16;
}

bool covers_any(const IpPrefix& prefix, const std::vector<IpAddress>& addresses) {
  return std::ranges::any_of(addresses,
                             [&](const IpAddress& address) { return prefix.contains(address); });
}

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
  return error.code == EACCES || error.code == EAFNOSUPPORT || error.code == EOPNOTSUPP ||
         error.code == ENOTSUP;
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

template <class T>
std::vector<T> sorted_set(std::vector<T> items) {
  std::ranges::sort(items);
  items.erase(std::ranges::unique(items).begin(), items.end());
  return items;
}

}  // namespace

// The wanted state in the kernel's terms. Rules stand in the order in which they may be added
// without harm: the jump of marked packets before anything that would catch them.
struct TunnelInterface::Plan {
  uint32_t mtu = 0;
  std::vector<InterfaceAddress> addresses;
  std::vector<Route> routes;
  std::vector<PolicyRule> rules;
  std::vector<IpAddress> covered;  // outer addresses inside of wanted routes
};

uint32_t tunnel_mark(const std::string& interface_name) {
  return kMarkPrefix | (hash_of(interface_name) & 0xffff);
}

TunnelInterface::TunnelInterface(TunnelInterfaceOptions options, uint32_t index, Netlink netlink)
    : options_(std::move(options)),
      index_(index),
      netlink_(std::move(netlink)),
      return_path_(options_.name, options_.mark) {}

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
  if (options.rule_priority == 0) {
    options.rule_priority =
        kFirstRulePriority + hash_of(options.name) % kRuleWindows * kRulePriorities;
  }
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

TunnelInterface::Plan TunnelInterface::make_plan(const InterfaceState& wanted) const {
  Plan plan{.mtu = wanted.mtu, .addresses = sorted_set(wanted.addresses)};
  std::vector<IpPrefix> covering;
  for (const IpPrefix& prefix : sorted_set(wanted.routes)) {
    const bool covers = covers_any(prefix, wanted.outer);
    if (covers) covering.push_back(prefix);
    plan.routes.push_back({.destination = prefix,
                           .interface = index_,
                           .table = covers ? options_.mark : kMainTable,
                           .metric = covers ? 0 : options_.metric});
  }
  for (const IpAddress& address : wanted.outer) {
    const auto contains = [&](const IpPrefix& prefix) { return prefix.contains(address); };
    if (std::ranges::any_of(covering, contains)) plan.covered.push_back(address);
  }
  const uint32_t end = options_.rule_priority + kRulePriorities - 1;
  for (const IpVersion version : kVersions) {
    const auto of_version = [version](const IpPrefix& prefix) {
      return prefix.version() == version;
    };
    if (std::ranges::none_of(covering, of_version)) continue;
    plan.rules.push_back(
        {.version = version, .priority = end, .action = PolicyRule::Action::Nothing});
    plan.rules.push_back({.version = version,
                          .priority = options_.rule_priority,
                          .action = PolicyRule::Action::Goto,
                          .target = end,
                          .mark = options_.mark});
  }
  for (const IpPrefix& prefix : covering) {
    // Longer prefixes come first, each with two priorities: the longest prefix wins, as in a table.
    const uint32_t priority =
        options_.rule_priority + 1 + 2u * (address_bits(prefix.version()) - prefix.length());
    const std::optional<IpPrefix> to = prefix.length() == 0 ? std::nullopt : std::optional(prefix);
    plan.rules.push_back({.version = prefix.version(),
                          .priority = priority,
                          .table = kMainTable,
                          .destination = to,
                          .suppress_prefix_length = prefix.length()});
    plan.rules.push_back({.version = prefix.version(),
                          .priority = priority + 1,
                          .table = options_.mark,
                          .destination = to});
  }
  return plan;
}

Result<ApplyReport, SysError> TunnelInterface::apply(const InterfaceState& wanted) {
  if (wanted.routes.size() > kRoutesMax || wanted.addresses.size() > kAddressesMax) {
    return sys::failure(E2BIG,
                        std::format("apply {} routes and {} addresses to {}", wanted.routes.size(),
                                    wanted.addresses.size(), options_.name));
  }
  const Plan plan = make_plan(wanted);
  ApplyReport report;
  TRY(const Link link, netlink_.link(index_));
  if (link.mtu != wanted.mtu) {
    TRY_VOID(netlink_.set_mtu(index_, wanted.mtu));
    ++report.changes;
  }
  open_return_path(plan, report);  // before rules that would need it
  TRY_VOID(add_missing(plan, report));
  wait_for_addresses(plan);
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

void TunnelInterface::open_return_path(const Plan& plan, ApplyReport& report) {
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
void TunnelInterface::wait_for_addresses(const Plan& plan) {
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

Result<void, SysError> TunnelInterface::add_missing(const Plan& plan, ApplyReport& report) {
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
Result<uint32_t, SysError> TunnelInterface::remove_surplus(const Plan& plan) {
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
