// SPDX-License-Identifier: Apache-2.0
// TUN devices, netlink, the tunnel interface and its rules on a real kernel.
//
//     server 198.51.100.1 - - - wan0 192.0.2.2/24 [this namespace] vpn0 10.8.0.2
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>

#include "host/host_addresses.h"
#include "host/interface_config.h"
#include "host/network_monitor.h"
#include "namespace.h"

namespace masque::netns {
namespace {

class Interface : public NamespaceTest {
 protected:
  void SetUp() override {
    NamespaceTest::SetUp();
    wan_ = make_uplink("wan0", {"192.0.2.2/24", "2001:db8:1::2/64"});
    add_route({.destination = prefix("0.0.0.0/0"),
               .interface = index_of("wan0"),
               .gateway = address("192.0.2.1"),
               .protocol = 4});
    add_route({.destination = prefix("::/0"),
               .interface = index_of("wan0"),
               .gateway = address("2001:db8:1::1"),
               .protocol = 4});
    tun_ = make_tun("vpn0");
  }
  TunnelInterface start() {
    auto tunnel = TunnelInterface::start({.name = "vpn0"});
    EXPECT_TRUE(tunnel) << tunnel.error().message();
    return std::move(*tunnel);
  }
  ApplyReport apply(TunnelInterface& tunnel, const InterfaceState& state) {
    const auto report = tunnel.apply(state);
    EXPECT_TRUE(report) << report.error().message();
    return report.value_or(ApplyReport{});
  }
  // Through which interface the kernel would send.
  std::string way_to(const char* destination, std::optional<uint32_t> mark = std::nullopt) {
    const auto route = netlink().route_to(address(destination), mark);
    if (!route) return "none";
    const auto link = netlink().link(route->interface);
    return link ? link->name : "?";
  }
  std::vector<IpPrefix> tun_routes(uint32_t table = kMainTable) {
    std::vector<IpPrefix> found;
    for (const IpVersion version : {IpVersion::V4, IpVersion::V6}) {
      const auto routes = netlink().routes(version, table, index_of("vpn0"));
      EXPECT_TRUE(routes) << routes.error().message();
      for (const Route& route : *routes) found.push_back(route.destination);
    }
    std::ranges::sort(found);
    return found;
  }
  std::vector<InterfaceAddress> tun_addresses() {
    auto found = netlink().addresses(index_of("vpn0"));
    EXPECT_TRUE(found) << found.error().message();
    std::ranges::sort(*found);
    return *found;
  }
  size_t rule_count() {
    return netlink().rules(IpVersion::V4)->size() + netlink().rules(IpVersion::V6)->size();
  }

  std::optional<TunDevice> wan_;
  std::optional<TunDevice> tun_;
};

InterfaceState plain_state() {
  return {.addresses = {interface_address("10.8.0.2/32"), interface_address("2001:db8:8::2/128")},
          .routes = {prefix("10.8.0.0/24"), prefix("2001:db8:8::/64")},
          .mtu = 1320};
}

TEST_F(Interface, a_tun_of_this_kernel_takes_all_offloads) {
  EXPECT_EQ(tun_->name(), "vpn0");
  EXPECT_EQ(tun_->offload(), TunDevice::OffloadLevel::TcpAndUdp);
  EXPECT_EQ(tun_->merge(), PacketCoalescer::Merge::TcpAndUdp);
  const auto automatic = TunDevice::open({});
  ASSERT_TRUE(automatic);
  EXPECT_FALSE(automatic->name().empty());
}

TEST_F(Interface, a_name_in_use_is_an_error_that_names_it) {
  const auto busy = TunDevice::open({.name = "vpn0"});
  ASSERT_FALSE(busy);
  EXPECT_EQ(busy.error().code, EBUSY);
  const auto other_kind = TunDevice::open({.name = "lo"});
  ASSERT_FALSE(other_kind);
  EXPECT_TRUE(other_kind.error().operation.contains("lo"));
  EXPECT_FALSE(TunDevice::open({.name = "a-name-that-is-too-long"}));
  EXPECT_EQ(TunnelInterface::start({.name = "nothing0"}).error().code, ENODEV);
}

TEST_F(Interface, an_interface_that_is_down_drops_and_counts) {
  TunReadBatch batch;
  EXPECT_TRUE(tun_->read_batch(batch));
  const uint8_t packet[20] = {0x45};
  EXPECT_TRUE(tun_->write(packet));
  EXPECT_EQ(tun_->counters().write_dropped, 1u);
}

TEST_F(Interface, a_deleted_device_is_an_error_of_read_and_write) {
  ASSERT_EQ(std::system("ip link delete vpn0"), 0);
  TunReadBatch batch;
  const auto read = tun_->read_batch(batch);
  ASSERT_FALSE(read);
  EXPECT_EQ(read.error().code, EBADFD);
  const uint8_t packet[20] = {0x45};
  EXPECT_FALSE(tun_->write(packet));
}

TEST_F(Interface, the_wanted_state_is_reached_and_nothing_else_is_there) {
  TunnelInterface tunnel = start();
  const ApplyReport report = apply(tunnel, plain_state());
  EXPECT_TRUE(report.conflicts.empty());
  EXPECT_EQ(tun_addresses(), plain_state().addresses);
  EXPECT_EQ(tun_routes(), plain_state().routes);
  const auto link = netlink().link("vpn0");
  EXPECT_TRUE(link->up);
  EXPECT_EQ(link->mtu, 1320u);
  EXPECT_EQ(way_to("10.8.0.77"), "vpn0");
  EXPECT_EQ(way_to("2001:db8:8::77"), "vpn0");
  EXPECT_EQ(way_to("198.51.100.1"), "wan0");
}

TEST_F(Interface, applying_the_same_state_again_changes_nothing) {
  TunnelInterface tunnel = start();
  InterfaceState state = plain_state();
  state.routes.push_back(prefix("0.0.0.0/0"));
  state.routes.push_back(prefix("::/0"));
  state.outer = {address("198.51.100.1"), address("2001:db8:ff::1")};
  EXPECT_GT(apply(tunnel, state).changes, 0u);
  EXPECT_EQ(apply(tunnel, state).changes, 0u);
}

TEST_F(Interface, the_interface_is_silent) {
  TunnelInterface tunnel = start();
  apply(tunnel, plain_state());
  const auto chatter = read_packet(*tun_, [](Bytes) { return true; });
  EXPECT_FALSE(chatter) << to_hex(*chatter);
}

// Addresses of one subnet: removing the first must not take the second along.
TEST_F(Interface, addresses_and_routes_change_on_the_live_device) {
  TunnelInterface tunnel = start();
  InterfaceState state = plain_state();
  state.addresses = {interface_address("10.8.0.2/24")};
  apply(tunnel, state);
  state.addresses = {interface_address("10.8.0.3/24"), interface_address("10.8.0.4/24")};
  state.routes = {prefix("10.8.0.0/24"), prefix("10.9.0.0/16")};
  state.mtu = 1400;
  apply(tunnel, state);
  EXPECT_EQ(tun_addresses(), state.addresses);
  EXPECT_EQ(tun_routes(), state.routes);
  EXPECT_EQ(netlink().link("vpn0")->mtu, 1400u);
  // From one family to the other, and to nothing.
  state = {.addresses = {interface_address("2001:db8:8::9/64")},
           .routes = {prefix("2001:db8:8::/64")},
           .mtu = 1400};
  apply(tunnel, state);
  EXPECT_EQ(tun_addresses(), state.addresses);
  EXPECT_EQ(tun_routes(), state.routes);
  apply(tunnel, {.mtu = 1400});
  EXPECT_TRUE(tun_addresses().empty());
  EXPECT_TRUE(tun_routes().empty());
}

TEST_F(Interface, the_route_of_somebody_else_is_reported_and_left_alone) {
  add_route({.destination = prefix("10.50.0.0/16"), .interface = index_of("wan0"), .protocol = 4});
  TunnelInterface tunnel = start();
  InterfaceState state = plain_state();
  state.routes.push_back(prefix("10.50.0.0/16"));
  const ApplyReport report = apply(tunnel, state);
  EXPECT_EQ(report.conflicts, std::vector{prefix("10.50.0.0/16")});
  EXPECT_EQ(way_to("10.50.0.1"), "wan0");
  EXPECT_EQ(way_to("10.8.0.5"), "vpn0");
}

// proves: Z6
TEST_F(Interface, a_full_tunnel_does_not_swallow_its_own_packets) {
  TunnelInterface tunnel = start();
  InterfaceState state = plain_state();
  state.routes = {prefix("0.0.0.0/0"), prefix("::/0")};
  state.outer = {address("198.51.100.1"), address("2001:db8:ff::1")};
  apply(tunnel, state);
  for (const char* destination :
       {"203.0.113.9", "198.51.100.1", "2001:db8:ff::1", "2001:db8:abc::1"}) {
    EXPECT_EQ(way_to(destination), "vpn0") << destination;
    EXPECT_EQ(way_to(destination, tunnel.mark()), "wan0") << destination;
  }
  // Longer prefixes of the underlying network keep winning.
  EXPECT_EQ(way_to("192.0.2.77"), "wan0");
  EXPECT_EQ(way_to("2001:db8:1::77"), "wan0");
  tunnel.remove();
  EXPECT_EQ(way_to("203.0.113.9"), "wan0");
  EXPECT_EQ(way_to("2001:db8:abc::1"), "wan0");
}

// proves: Z6
TEST_F(Interface, a_split_route_that_contains_the_server_does_not_swallow_the_tunnel) {
  add_route(
      {.destination = prefix("198.51.100.240/28"), .interface = index_of("wan0"), .protocol = 4});
  TunnelInterface tunnel = start();
  InterfaceState state = plain_state();
  // Two nested routes contain the server, a third lies inside of both and does not.
  state.routes = {prefix("198.51.0.0/16"), prefix("198.51.100.0/24"), prefix("198.51.100.128/25"),
                  prefix("10.0.0.0/8")};
  state.outer = {address("198.51.100.1")};
  apply(tunnel, state);
  EXPECT_EQ(way_to("198.51.100.1", tunnel.mark()), "wan0");
  EXPECT_EQ(way_to("198.51.7.7", tunnel.mark()), "wan0");
  EXPECT_EQ(way_to("198.51.100.1"), "vpn0");
  EXPECT_EQ(way_to("198.51.7.7"), "vpn0");
  EXPECT_EQ(way_to("198.51.100.200"), "vpn0");
  EXPECT_EQ(way_to("198.51.100.241"), "wan0");  // the longer prefix is the underlying network's
  EXPECT_EQ(way_to("10.1.1.1"), "vpn0");
  EXPECT_EQ(way_to("203.0.113.1"), "wan0");
  EXPECT_EQ(tun_routes(), (std::vector{prefix("10.0.0.0/8"), prefix("198.51.100.128/25")}));
}

// The server moves (or is reached by another address) while the tunnel is up.
TEST_F(Interface, outer_addresses_change_on_the_live_device) {
  TunnelInterface tunnel = start();
  InterfaceState state = plain_state();
  state.routes = {prefix("198.51.100.0/24"), prefix("203.0.113.0/24")};
  state.outer = {address("198.51.100.1")};
  const size_t rules_before = rule_count();
  apply(tunnel, state);
  state.outer = {address("203.0.113.1")};
  apply(tunnel, state);
  EXPECT_EQ(way_to("203.0.113.1", tunnel.mark()), "wan0");
  EXPECT_EQ(way_to("203.0.113.1"), "vpn0");
  EXPECT_EQ(way_to("198.51.100.1"), "vpn0");
  state.outer = {address("192.0.2.1")};  // covered by none
  apply(tunnel, state);
  EXPECT_EQ(rule_count(), rules_before);
  EXPECT_EQ(tun_routes(), state.routes);
}

TEST_F(Interface, rules_of_a_crashed_run_are_replaced_not_stacked) {
  const size_t rules_before = rule_count();
  InterfaceState state = plain_state();
  state.routes = {prefix("0.0.0.0/0"), prefix("::/0")};
  state.outer = {address("198.51.100.1"), address("2001:db8:ff::1")};
  size_t rules_of_one_run = 0;
  for (int run = 0; run < 3; ++run) {
    const pid_t child = ::fork();
    if (child == 0) {  // dies without a destructor
      auto tunnel = TunnelInterface::start({.name = "vpn0"});
      ::_exit(tunnel && tunnel->apply(state) ? 0 : 1);
    }
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    ASSERT_EQ(status, 0);
    if (run == 0) rules_of_one_run = rule_count();
    EXPECT_EQ(rule_count(), rules_of_one_run);
    // Routes go with the device.
    tun_.reset();
    EXPECT_EQ(way_to("203.0.113.9"), "wan0");
    tun_ = make_tun("vpn0");
  }
  EXPECT_EQ(rules_of_one_run, rules_before + 8);
  {
    const TunnelInterface tunnel = start();
  }
  EXPECT_EQ(rule_count(), rules_before);
}

TEST_F(Interface, many_routes_are_applied_and_too_many_are_refused) {
  TunnelInterface tunnel = start();
  InterfaceState state = plain_state();
  state.routes.clear();
  for (uint32_t i = 0; i < TunnelInterface::kRoutesMax; ++i) {
    state.routes.push_back(*IpPrefix::make(IpAddress::v4(0x0a000000 + i * 256), 24));
  }
  EXPECT_EQ(apply(tunnel, state).changes, TunnelInterface::kRoutesMax + 2 + 1);
  EXPECT_EQ(tun_routes().size(), TunnelInterface::kRoutesMax);
  state.routes.push_back(prefix("203.0.113.0/24"));
  EXPECT_EQ(tunnel.apply(state).error().code, E2BIG);
}

TEST_F(Interface, without_ipv6_the_rest_is_applied) {
  ASSERT_TRUE(sys::write_file("/proc/sys/net/ipv6/conf/vpn0/disable_ipv6", "1"));
  TunnelInterface tunnel = start();
  const ApplyReport report = apply(tunnel, plain_state());
  EXPECT_TRUE(report.ipv6_unavailable);
  EXPECT_EQ(way_to("10.8.0.5"), "vpn0");
}

TEST_F(Interface, the_monitor_reports_links_addresses_and_routes) {
  auto monitor = NetworkMonitor::create();
  ASSERT_TRUE(monitor);
  TunnelInterface tunnel = start();
  apply(tunnel, plain_state());
  tunnel.remove();
  ASSERT_TRUE(netlink().set_down(tunnel.index()));
  std::vector<NetworkEvent> events;
  ASSERT_TRUE(monitor->poll_events(events));
  using Kind = NetworkEvent::Kind;
  const auto seen = [&](Kind kind, auto matches) {
    return std::ranges::any_of(events, [&](const NetworkEvent& event) {
      return event.kind == kind && event.interface == tunnel.index() && matches(event);
    });
  };
  EXPECT_TRUE(seen(Kind::LinkChanged,
                   [](const auto& e) { return e.link_up && e.interface_name == "vpn0"; }));
  EXPECT_TRUE(seen(Kind::LinkChanged, [](const auto& e) { return e.link_mtu == 1320; }));
  EXPECT_TRUE(seen(Kind::LinkChanged, [](const auto& e) { return !e.link_up; }));
  EXPECT_TRUE(
      seen(Kind::AddressAdded, [](const auto& e) { return e.address == address("10.8.0.2"); }));
  EXPECT_TRUE(seen(Kind::AddressRemoved,
                   [](const auto& e) { return e.address == address("2001:db8:8::2"); }));
  EXPECT_TRUE(seen(Kind::RouteChanged,
                   [](const auto& e) { return e.destination == prefix("10.8.0.0/24"); }));
  EXPECT_TRUE(seen(Kind::RouteRemoved,
                   [](const auto& e) { return e.destination == prefix("10.8.0.0/24"); }));
  events.clear();
  tun_.reset();
  ASSERT_TRUE(monitor->poll_events(events));
  EXPECT_TRUE(seen(Kind::LinkRemoved, [](const auto&) { return true; }));
}

// All that the kernel takes for the host, but for the tunnel's own.
// proves: Z5
TEST_F(Interface, the_hosts_own_addresses_are_known_and_followed) {
  TunnelInterface tunnel = start();
  apply(tunnel, plain_state());
  auto host = HostAddresses::create(tunnel.index());
  ASSERT_TRUE(host) << host.error().message();
  const auto has = [&](const char* text) {
    return std::ranges::contains(host->prefixes(), prefix(text));
  };
  // Until the kernel has told all of a change.
  const auto follows = [&](const char* text, bool wanted) {
    for (int attempt = 0; attempt < 200 && has(text) != wanted; ++attempt) {
      if (sys::poll_one(host->fd(), POLLIN, 10).value_or(false)) {
        EXPECT_TRUE(host->refresh());
      }
    }
    return has(text) == wanted;
  };
  EXPECT_TRUE(has("192.0.2.2/32"));
  EXPECT_TRUE(has("2001:db8:1::2/128"));
  EXPECT_TRUE(has("127.0.0.0/8"));
  EXPECT_FALSE(has("10.8.0.2/32")) << "the tunnel's own";
  EXPECT_FALSE(has("2001:db8:8::2/128"));
  ASSERT_EQ(std::system("ip address add 172.20.0.2/24 brd + dev wan0 && "
                        "ip address add 2001:db8:20::2/64 dev wan0 nodad && "
                        "ip route add local 203.0.113.0/24 dev lo"),
            0);
  for (const char* text :
       {"172.20.0.2/32", "172.20.0.255/32", "2001:db8:20::2/128", "203.0.113.0/24"}) {
    EXPECT_TRUE(follows(text, true)) << text;
  }
  // A router also has the anycast address of each of its networks (RFC 4291 2.6.1).
  ASSERT_TRUE(sys::write_file("/proc/sys/net/ipv6/conf/all/forwarding", "1"));
  EXPECT_TRUE(follows("2001:db8:20::/128", true));
  ASSERT_EQ(std::system("ip address del 172.20.0.2/24 dev wan0 && "
                        "ip address del 2001:db8:20::2/64 dev wan0"),
            0);
  for (const char* text : {"172.20.0.2/32", "172.20.0.255/32", "2001:db8:20::2/128"}) {
    EXPECT_TRUE(follows(text, false)) << text;
  }
  EXPECT_TRUE(has("203.0.113.0/24"));
}

TEST_F(Interface, adding_twice_and_removing_what_is_gone_succeed) {
  const uint32_t index = index_of("vpn0");
  ASSERT_TRUE(netlink().set_up(index));
  const InterfaceAddress entry = interface_address("10.1.0.1/24");
  const Route route{.destination = prefix("10.2.0.0/16"), .interface = index, .metric = 50};
  const PolicyRule rule{.priority = 7000, .table = 4242, .mark = 5};
  for (int i = 0; i < 2; ++i) {
    EXPECT_TRUE(netlink().add_address(index, entry));
    EXPECT_TRUE(netlink().add_route(route, Existing::Replace));
    EXPECT_TRUE(netlink().add_rule(rule));
  }
  EXPECT_EQ(netlink().add_route(route, Existing::Keep).error().code, EEXIST);
  EXPECT_TRUE(std::ranges::contains(*netlink().rules(IpVersion::V4), rule));
  EXPECT_TRUE(std::ranges::contains(*netlink().routes(IpVersion::V4, kMainTable), route));
  for (int i = 0; i < 2; ++i) {
    EXPECT_TRUE(netlink().remove_rule(rule));
    EXPECT_TRUE(netlink().remove_route(route));
    EXPECT_TRUE(netlink().remove_address(index, entry));
  }
  EXPECT_EQ(netlink().routes(IpVersion::V4, 4242)->size(), 0u);
}

}  // namespace
}  // namespace masque::netns
