// SPDX-License-Identifier: Apache-2.0
#include "core/tunnel/packet_filter.h"

#include <gtest/gtest.h>

#include "core/tunnel/test_packets.h"

namespace masque {
namespace {

using test::ip;
using test::make_icmp_error;
using test::make_packet;
using test::nets;
using test::Packet;
using test::route;
using test::view_of;

// A gateway whose client has 10.8.0.2 and fd00:8::2 and advertises 192.168.7.0/24.
PacketFilter gateway_filter(PacketFilter::OurSources sources = PacketFilter::OurSources::Any) {
  PacketFilter filter({.peer_sources = PacketFilter::PeerSources::Known,
                       .our_sources = sources,
                       .own_addresses = {ip("10.8.0.1"), ip("fd00:8::1")}});
  filter.set_assigned_to_peer(nets({"10.8.0.2/32", "fd00:8::2/128"}));
  filter.set_our_routes(
      std::vector{route("10.0.0.0/8"), route("203.0.113.0/24", 6), route("fd00::/16")});
  filter.set_peer_routes(std::vector{route("192.168.7.0/24")});
  return filter;
}

// A client with 10.8.0.2 and fd00:8::2 whose gateway advertises the world for TCP over IPv4.
PacketFilter client_filter() {
  PacketFilter filter({.peer_sources = PacketFilter::PeerSources::Unknown,
                       .our_sources = PacketFilter::OurSources::Ours});
  filter.set_assigned_to_us(nets({"10.8.0.2/32", "fd00:8::2/128"}));
  filter.set_peer_routes(std::vector{route("0.0.0.0/0", 6), route("fd00::/16")});
  filter.set_our_routes(std::vector{route("192.168.7.0/24")});
  return filter;
}

struct Case {
  const char* source;
  const char* destination;
  uint8_t protocol;
  std::optional<DropReason> expected;
};

using Check = std::optional<DropReason> (*)(const PacketFilter& filter, const Packet& packet);

std::optional<DropReason> from_peer(const PacketFilter& filter, const Packet& packet) {
  return filter.check_from_peer(view_of(packet));
}
std::optional<DropReason> to_peer(const PacketFilter& filter, const Packet& packet) {
  return filter.check_to_peer(view_of(packet), {.head = packet, .body = {}});
}

void expect_all(const PacketFilter& filter, Check check, const std::vector<Case>& cases) {
  for (const Case& c : cases) {
    const auto packet = make_packet(c.source, c.destination, {.protocol = c.protocol});
    EXPECT_EQ(check(filter, packet), c.expected)
        << c.source << " -> " << c.destination << " protocol " << int{c.protocol};
  }
}

// proves: Z2, A4, K2
TEST(PacketFilter, rfc9484_7_2_gateway_takes_only_assigned_sources) {
  expect_all(gateway_filter(), from_peer,
             {{"10.8.0.2", "10.1.1.1", 17, std::nullopt},
              {"fd00:8::2", "fd00:9::1", 17, std::nullopt},
              {"192.168.7.9", "10.1.1.1", 17, std::nullopt},  // behind the client
              {"10.8.0.3", "10.1.1.1", 17, DropReason::SourceNotAllowed},
              {"10.8.0.1", "10.1.1.1", 17, DropReason::SourceNotAllowed},
              {"10.8.0.3", "10.8.0.2", 17, DropReason::SourceNotAllowed},  // to the client itself
              {"fd00:8::3", "fd00:9::1", 17, DropReason::SourceNotAllowed},
              {"192.168.8.1", "10.1.1.1", 17, DropReason::SourceNotAllowed}});
}

// proves: Z2
TEST(PacketFilter, faults_c1_sources_that_nobody_may_have) {
  for (const auto& filter : {gateway_filter(), client_filter()}) {
    expect_all(filter, from_peer,
               {{"0.0.0.0", "10.8.0.2", 17, DropReason::SourceInvalid},
                {"0.1.2.3", "10.8.0.2", 17, DropReason::SourceInvalid},
                {"127.0.0.1", "10.8.0.2", 17, DropReason::SourceInvalid},
                {"224.0.0.1", "10.8.0.2", 17, DropReason::SourceInvalid},
                {"239.1.1.1", "10.8.0.2", 17, DropReason::SourceInvalid},
                {"255.255.255.255", "10.8.0.2", 17, DropReason::SourceInvalid},
                {"169.254.1.1", "10.8.0.2", 17, DropReason::LinkLocal},
                {"::", "fd00:8::2", 17, DropReason::SourceInvalid},
                {"::1", "fd00:8::2", 17, DropReason::SourceInvalid},
                {"ff02::1", "fd00:8::2", 17, DropReason::SourceInvalid},
                {"::ffff:10.8.0.2", "fd00:8::2", 17, DropReason::SourceInvalid},
                {"fe80::1", "fd00:8::2", 17, DropReason::LinkLocal}});
  }
}

// proves: K3, V1, S9
TEST(PacketFilter, rfc9484_4_7_3_gateway_takes_only_advertised_destinations) {
  expect_all(gateway_filter(), from_peer,
             {{"10.8.0.2", "203.0.113.1", 6, std::nullopt},
              {"10.8.0.2", "203.0.113.1", 1, std::nullopt},
              {"10.8.0.2", "203.0.113.1", 17, DropReason::ProtocolNotAllowed},
              {"10.8.0.2", "198.51.100.1", 6, DropReason::NotOurAddress},
              {"fd00:8::2", "2001:db8::1", 6, DropReason::NotOurAddress},
              {"10.8.0.2", "10.8.0.1", 17, std::nullopt}});  // ours, advertised or not
}

// proves: K6, Z5
TEST(PacketFilter, rfc9484_7_1_link_local_multicast_and_loopback_destinations) {
  expect_all(gateway_filter(), from_peer,
             {{"10.8.0.2", "169.254.169.254", 6, DropReason::LinkLocal},
              {"10.8.0.2", "224.0.0.251", 17, DropReason::LinkLocal},
              {"10.8.0.2", "239.255.255.250", 17, DropReason::Multicast},
              {"10.8.0.2", "255.255.255.255", 17, DropReason::Multicast},
              {"10.8.0.2", "127.0.0.1", 6, DropReason::DestinationDenied},
              {"10.8.0.2", "0.0.0.0", 6, DropReason::DestinationDenied},
              {"fd00:8::2", "fe80::1", 6, DropReason::LinkLocal},
              {"fd00:8::2", "ff02::2", 58, DropReason::LinkLocal},
              {"fd00:8::2", "ff05::2", 17, DropReason::Multicast},
              {"fd00:8::2", "::1", 6, DropReason::DestinationDenied},
              {"fd00:8::2", "::ffff:127.0.0.1", 6, DropReason::DestinationDenied}});
}

// proves: K3, E3
TEST(PacketFilter, client_takes_packets_for_itself_from_anywhere) {
  expect_all(client_filter(), from_peer,
             {{"198.51.100.1", "10.8.0.2", 17, std::nullopt},
              {"198.51.100.1", "10.8.0.2", 1, std::nullopt},  // an ICMP error of some router
              {"198.51.100.1", "192.168.7.4", 17, std::nullopt},
              {"198.51.100.1", "10.8.0.3", 17, DropReason::NotOurAddress},
              {"198.51.100.1", "192.168.8.4", 17, DropReason::NotOurAddress},
              {"10.8.0.2", "10.8.0.2", 17, DropReason::SourceNotAllowed}});  // only we are 10.8.0.2
}

// proves: K3, Z2
TEST(PacketFilter, rfc9484_7_2_client_sends_only_from_its_addresses_to_routes) {
  expect_all(client_filter(), to_peer,
             {{"10.8.0.2", "198.51.100.1", 6, std::nullopt},
              {"10.8.0.2", "198.51.100.1", 1, std::nullopt},
              {"10.8.0.2", "198.51.100.1", 17, DropReason::ProtocolNotAllowed},
              {"192.168.7.4", "198.51.100.1", 6, std::nullopt},
              {"192.0.2.7", "198.51.100.1", 6, DropReason::SourceNotAllowed},
              {"fd00:8::2", "2001:db8::1", 6, DropReason::NoRoute},
              {"fe80::1", "ff02::2", 58, DropReason::LinkLocal},
              {"fd00:8::2", "ff02::16", 58, DropReason::LinkLocal},
              {"fd00:8::2", "ff02::1", 58, std::nullopt},
              {"10.8.0.2", "224.0.0.22", 2, DropReason::LinkLocal}});
}

// proves: S10
TEST(PacketFilter, gateway_to_client_scoped_and_unscoped) {
  expect_all(gateway_filter(), to_peer,
             {{"198.51.100.1", "10.8.0.2", 17, std::nullopt},
              {"198.51.100.1", "192.168.7.1", 17, std::nullopt},
              {"198.51.100.1", "10.8.0.3", 17, DropReason::NoRoute}});
  expect_all(gateway_filter(PacketFilter::OurSources::InScope), to_peer,
             {{"198.51.100.1", "10.8.0.2", 17, DropReason::SourceNotAllowed},
              {"203.0.113.1", "10.8.0.2", 17, DropReason::ProtocolNotAllowed},
              {"203.0.113.1", "10.8.0.2", 6, std::nullopt},
              {"203.0.113.1", "10.8.0.2", 1, std::nullopt}});
}

// A gateway with a request for UDP to 203.0.113.0/24 or, with IPv6, 2001:db8:7::/48.
PacketFilter scoped_filter() {
  PacketFilter filter({.peer_sources = PacketFilter::PeerSources::Known,
                       .our_sources = PacketFilter::OurSources::InScope,
                       .own_addresses = {ip("10.8.0.1"), ip("fd00:8::1")}});
  filter.set_assigned_to_peer(nets({"10.8.0.2/32", "fd00:8::2/128"}));
  filter.set_our_routes(std::vector{route("203.0.113.0/24", 17), route("2001:db8:7::/48", 17)});
  return filter;
}

// proves: S9, K3
TEST(PacketFilter, rfc9484_4_6_a_scope_without_our_addresses_has_only_their_icmp) {
  expect_all(scoped_filter(), from_peer,
             {{"10.8.0.2", "203.0.113.1", 17, std::nullopt},
              {"10.8.0.2", "10.8.0.1", 1, std::nullopt},
              {"10.8.0.2", "10.8.0.1", 6, DropReason::NotOurAddress},
              {"10.8.0.2", "10.8.0.1", 17, DropReason::NotOurAddress},
              {"fd00:8::2", "fd00:8::1", 58, std::nullopt},
              {"fd00:8::2", "fd00:8::1", 1, DropReason::NotOurAddress},  // ICMP of the other family
              {"fd00:8::2", "fd00:8::1", 6, DropReason::NotOurAddress}});
  expect_all(scoped_filter(), to_peer,
             {{"10.8.0.1", "10.8.0.2", 1, std::nullopt},
              {"10.8.0.1", "10.8.0.2", 6, DropReason::SourceNotAllowed},
              {"fd00:8::1", "fd00:8::2", 58, std::nullopt},
              {"fd00:8::1", "fd00:8::2", 17, DropReason::SourceNotAllowed}});
}

// proves: S9
TEST(PacketFilter, rfc9484_4_6_our_addresses_in_the_scope_are_reached_by_its_protocol) {
  PacketFilter filter = scoped_filter();
  filter.set_our_routes(std::vector{route("10.8.0.1/32", 17)});
  expect_all(filter, from_peer,
             {{"10.8.0.2", "10.8.0.1", 17, std::nullopt},
              {"10.8.0.2", "10.8.0.1", 1, std::nullopt},
              {"10.8.0.2", "10.8.0.1", 6, DropReason::ProtocolNotAllowed}});
  expect_all(filter, to_peer,
             {{"10.8.0.1", "10.8.0.2", 17, std::nullopt},
              {"10.8.0.1", "10.8.0.2", 6, DropReason::ProtocolNotAllowed}});
}

struct QuoteCase {
  const char* router;
  Packet offending;
  std::optional<DropReason> expected;
};

// proves: E3, S9
TEST(PacketFilter, rfc9484_7_2_1_errors_from_routers_outside_the_scope_reach_the_peer) {
  const uint8_t tcp = ip_protocol::kTcp;
  const uint8_t icmp = ip_protocol::kIcmp;
  const std::vector<QuoteCase> cases = {
      {"198.51.100.1", make_packet("10.8.0.2", "203.0.113.1"), std::nullopt},
      {"198.51.100.1", make_packet("10.8.0.2", "203.0.113.1", {.protocol = icmp}), std::nullopt},
      {"2001:db8::1", make_packet("fd00:8::2", "2001:db8:7::1"), std::nullopt},
      // About packets that the scope does not hold, or that somebody else sent.
      {"198.51.100.1", make_packet("10.8.0.2", "203.0.113.1", {.protocol = tcp}),
       DropReason::SourceNotAllowed},
      {"198.51.100.1", make_packet("10.8.0.2", "198.51.100.9"), DropReason::SourceNotAllowed},
      {"2001:db8::1", make_packet("fd00:8::2", "2001:db8:8::1"), DropReason::SourceNotAllowed},
      {"127.0.0.1", make_packet("10.8.0.2", "203.0.113.1"), DropReason::SourceInvalid}};
  for (const QuoteCase& c : cases) {
    for (const IcmpErrorKind kind : {IcmpErrorKind::TimeExceeded, IcmpErrorKind::TooBig}) {
      const Packet error = make_icmp_error({.kind = kind, .mtu = 1300}, c.router, c.offending);
      EXPECT_EQ(to_peer(scoped_filter(), error), c.expected)
          << c.router << " about a packet to " << view_of(c.offending).destination.to_string();
    }
  }
}

// An error goes to whoever sent the packet that it quotes, and quotes what the peer may send.
TEST(PacketFilter, an_error_that_quotes_another_hosts_packet_is_none_for_the_peer) {
  PacketFilter filter = scoped_filter();
  const IcmpError error = {.kind = IcmpErrorKind::TimeExceeded};
  Packet stray = make_icmp_error(error, "198.51.100.1", make_packet("10.8.0.2", "203.0.113.1"));
  EXPECT_EQ(to_peer(filter, stray), std::nullopt);
  const size_t quoted_source = view_of(stray).transport_offset + size_t{8 + 12};
  stray[quoted_source + 3] = 9;
  EXPECT_EQ(to_peer(filter, stray), DropReason::SourceNotAllowed);
  // A ping of the router is no error, whatever its data look like.
  const Packet ping = test::make_echo(IcmpEcho::Kind::Request, "198.51.100.1", "10.8.0.2");
  EXPECT_EQ(to_peer(filter, ping), DropReason::SourceNotAllowed);
  // To nobody whom the peer serves.
  const Packet lost =
      make_icmp_error(error, "198.51.100.1", make_packet("10.8.0.3", "203.0.113.1"));
  EXPECT_EQ(to_peer(filter, lost), DropReason::NoRoute);
}

TEST(PacketFilter, faults_b6_the_neighbour_of_an_assigned_ipv6_address_is_refused) {
  PacketFilter filter({.peer_sources = PacketFilter::PeerSources::Known, .own_addresses = {}});
  filter.set_our_routes(std::vector{route("::/0")});
  filter.set_assigned_to_peer(nets({"fd00:8::4/126"}));
  expect_all(filter, from_peer,
             {{"fd00:8::4", "fd00:9::1", 17, std::nullopt},
              {"fd00:8::7", "fd00:9::1", 17, std::nullopt},
              {"fd00:8::3", "fd00:9::1", 17, DropReason::SourceNotAllowed},
              {"fd00:8::8", "fd00:9::1", 17, DropReason::SourceNotAllowed}});
}

}  // namespace
}  // namespace masque
