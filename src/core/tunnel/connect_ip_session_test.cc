// SPDX-License-Identifier: Apache-2.0
// The control half: capsules in and out, timers, aborts.
#include "core/tunnel/connect_ip_session.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck.h>

#include "core/tunnel/test_packets.h"

namespace masque {
namespace {

using test::at;
using test::CollectingHandler;
using test::FakeChannel;
using test::ip;
using test::nets;
using test::Packet;
using test::route;

std::vector<uint8_t> hex(std::string_view text) { return from_hex(text).value(); }

std::vector<SessionEvent> drain(ConnectIpSession& session) {
  std::vector<SessionEvent> out;
  while (const auto event = session.poll_event()) out.push_back(*event);
  return out;
}
std::string take_output(ConnectIpSession& session) {
  std::string out = to_hex(session.stream_output());
  session.consume_stream_output(session.stream_output().size());
  return out;
}

SessionOptions client_options() {
  return {.role = SessionOptions::Role::Client,
          .peer_sources = PacketFilter::PeerSources::Unknown,
          .wanted = nets({"0.0.0.0/32", "::/128"}),
          .ipv6_probe = MtuProbePolicy::Off};
}
SessionOptions proxy_options() {
  return {.role = SessionOptions::Role::Proxy,
          .own_addresses = {ip("10.8.0.1"), ip("fd00:8::1")},
          .our_sources = PacketFilter::OurSources::Any,
          .peer_assigns = SessionOptions::PeerAssigns::Ignore,
          .ipv6_probe = MtuProbePolicy::Off};
}

struct Fixture {
  explicit Fixture(SessionOptions options) : session(at(0s), std::move(options)) {}
  void feed(std::string_view text, Instant now = at(0s)) {
    session.on_stream_data(now, hex(text), handler);
  }
  CollectingHandler handler;
  FakeChannel channel;
  test::CollectingSink tun;
  WayBackToTun back{tun};
  ConnectIpSession session;
};

// proves: A6, R1, R3
TEST(Session, rfc9484_4_7_2_a_client_without_address_asks_after_a_short_wait) {
  Fixture f(client_options());
  EXPECT_EQ(f.session.next_timeout(), at(1s));
  f.session.on_timeout(at(1s) - 1ns, f.channel, f.handler);
  EXPECT_TRUE(f.session.stream_output().empty());
  f.session.on_timeout(at(1s), f.channel, f.handler);
  EXPECT_EQ(take_output(f.session),
            "021a"
            "01"
            "0400000000"
            "20"
            "02"
            "06"
            "00000000000000000000000000000000"
            "80");
  EXPECT_EQ(f.session.next_timeout(), std::nullopt);
}

// proves: A7
TEST(Session, trap_3_an_unprompted_assignment_makes_asking_unnecessary) {
  Fixture f(client_options());
  f.feed("0107 00 04 c000020b 20");
  EXPECT_THAT(drain(f.session), testing::ElementsAre(SessionEvent::AddressesAssigned));
  EXPECT_EQ(f.session.assigned_to_us(), nets({"192.0.2.11/32"}));
  f.session.on_timeout(at(5s), f.channel, f.handler);
  EXPECT_TRUE(f.session.stream_output().empty());
}

// proves: A6
TEST(Session, out_of_band_addresses_need_no_request) {
  SessionOptions options = client_options();
  options.wanted.clear();
  options.own_addresses = {ip("192.0.2.11")};
  Fixture f(options);
  EXPECT_EQ(f.session.next_timeout(), std::nullopt);
  f.session.request_addresses({});  // RFC 9484 4.7.2: never an empty request
  EXPECT_TRUE(f.session.stream_output().empty());
}

// proves: R4, R5
TEST(Session, rfc9484_4_7_2_request_is_answered_by_lease_and_denial) {
  Fixture f(proxy_options());
  f.feed("02 1a 01 04 00000000 20 02 06 00000000000000000000000000000000 80");
  EXPECT_THAT(drain(f.session), testing::ElementsAre(SessionEvent::AddressesRequested));
  EXPECT_EQ(f.session.requests_pending().size(), 2u);
  f.session.assign_addresses(nets({"192.0.2.11/32"}));
  EXPECT_EQ(take_output(f.session),
            "011a"
            "0104c000020b20"
            "0206"
            "00000000000000000000000000000000"
            "80");
}

// ADDRESS_REQUEST for `count` addresses of IPv4, the Request IDs rising from `first`.
std::vector<uint8_t> request_of(size_t count, uint64_t first = 1) {
  ByteBuffer value;
  for (uint64_t id = first; id < first + count; ++id) {
    value.varint(id);
    value.bytes(hex("04 00000000 20"));
  }
  ByteBuffer out;
  out.varint(capsule_type::kAddressRequest.value());
  out.varint(value.view().size());
  out.bytes(value.view());
  return {out.view().begin(), out.view().end()};
}
size_t addresses_in(Bytes capsule) {
  ByteReader in(capsule);
  EXPECT_EQ(in.varint(), capsule_type::kAddressAssign.value());
  const auto length = in.varint();
  EXPECT_EQ(length, in.rest().size());
  return parse_address_assign(in.rest())->addresses.size();
}

// proves: R4
TEST(Session, rfc9484_4_7_2_leases_and_answers_fit_one_assignment) {
  const struct {
    std::vector<IpPrefix> leases;
    std::vector<size_t> requests;  // entries of each capsule of one read
    std::optional<size_t> answer;  // entries; none: refused
  } kCases[] = {
      {nets({"10.8.0.2/32", "fd00:8::2/128"}), {61}, 62},  // one of the leases is an answer
      {nets({"10.8.0.2/32", "fd00:8::2/128"}), {62}, 63},
      {nets({"10.8.0.2/32", "fd00:8::2/128"}), {63}, std::nullopt},
      {nets({"fd00:8::2/128"}), {63}, 64},
      {nets({"fd00:8::2/128"}), {64}, std::nullopt},
      {{}, {64}, 64},
      {{}, {65}, std::nullopt},
      {{}, {32, 32}, 64},
      {{}, {32, 33}, std::nullopt},
      {{}, {64, 64}, std::nullopt},
  };
  for (const auto& c : kCases) {
    SCOPED_TRACE(testing::PrintToString(c.requests));
    Fixture f(proxy_options());
    f.session.assign_addresses(c.leases);
    take_output(f.session);
    std::vector<uint8_t> read;
    uint64_t first = 1;
    for (const size_t count : c.requests) {
      const auto capsule = request_of(count, std::exchange(first, first + count));
      read.insert(read.end(), capsule.begin(), capsule.end());
    }
    f.session.on_stream_data(at(0s), read, f.handler);
    EXPECT_EQ(f.session.abort_reason().has_value(), !c.answer);
    if (f.session.abort_reason()) {
      EXPECT_EQ(f.session.abort_reason()->error, WireError::TooMany);
    }
    // Whoever answers all the same must not fail.
    f.session.assign_addresses(c.leases);
    if (c.answer) {
      EXPECT_EQ(addresses_in(f.session.stream_output()), *c.answer);
    } else {
      EXPECT_LE(addresses_in(f.session.stream_output()), kAssignedAddressesMax);
    }
  }
}

TEST(Session, more_leases_than_a_capsule_holds_are_cut_and_answers_wait) {
  std::vector<IpPrefix> leases;
  for (uint32_t i = 0; i < kAssignedAddressesMax + 1; ++i)
    leases.push_back(IpPrefix::host(IpAddress::v4(0x0a080002 + i)));
  Fixture f(proxy_options());
  f.session.on_stream_data(at(0s), hex("02 13 01 06 00000000000000000000000000000000 80"),
                           f.handler);
  f.session.assign_addresses(leases);
  EXPECT_EQ(f.session.assigned_to_peer().size(), kAssignedAddressesMax);
  EXPECT_EQ(addresses_in(f.session.stream_output()), kAssignedAddressesMax);
  EXPECT_EQ(f.session.requests_pending().size(), 1u);
  take_output(f.session);
  f.session.assign_addresses(std::span(leases).first(1));
  EXPECT_EQ(addresses_in(f.session.stream_output()), 2u);
  EXPECT_TRUE(f.session.requests_pending().empty());
}

// proves: V2, V5
TEST(Session, rfc9484_4_7_3_routes_are_put_in_order_and_replaced_whole) {
  Fixture f(proxy_options());
  f.session.advertise_routes(
      {route("2001:db8::/127"), route("198.51.100.0/31", 6), route("192.0.2.0/31")});
  EXPECT_EQ(take_output(f.session),
            "0336"
            "04c0000200c000020100"
            "04c6336400c633640106"
            "06"
            "20010db8000000000000000000000000"
            "20010db8000000000000000000000001"
            "00");
  f.session.advertise_routes({});
  EXPECT_EQ(take_output(f.session), "0300");
}

TEST(Session, more_routes_than_a_capsule_holds_are_cut_and_reach_the_other_end) {
  for (const IpVersion version : {IpVersion::V4, IpVersion::V6}) {
    for (const size_t count : {kAddressRangesMax, kAddressRangesMax + 1}) {
      std::vector<IpAddressRange> ranges;
      for (uint32_t i = 0; i < count; ++i) {
        std::array<uint8_t, 16> bytes{0xfd};
        store_be32(&bytes[12], 2 * i);
        const IpAddress address =
            version == IpVersion::V4 ? IpAddress::v4(0x0a000000 + 2 * i) : IpAddress::v6(bytes);
        ranges.push_back({.range = {.first = address, .last = address}});
      }
      Fixture proxy(proxy_options());
      Fixture client(client_options());
      proxy.session.advertise_routes(ranges);
      EXPECT_EQ(proxy.session.advertised_by_us().size(), kAddressRangesMax);
      client.session.on_stream_data(at(0s), proxy.session.stream_output(), client.handler);
      EXPECT_FALSE(client.session.abort_reason());
      EXPECT_EQ(client.session.advertised_by_peer(), proxy.session.advertised_by_us());
    }
  }
}

// proves: V1, V2
TEST(Session, rfc9484_4_7_3_advertised_routes_are_told_and_wait_for_acceptance) {
  Fixture f(client_options());
  f.feed("03 0a 04 c0000200 c0000209 00");
  EXPECT_THAT(drain(f.session), testing::ElementsAre(SessionEvent::RoutesAdvertised));
  EXPECT_EQ(f.session.advertised_by_peer().size(), 1u);
  EXPECT_TRUE(f.session.accepted_routes().empty());
  f.feed("03 00");
  EXPECT_TRUE(f.session.advertised_by_peer().empty());
  EXPECT_TRUE(f.session.has_routes());
}

// proves: X, R7, V6, V7, V3, A5, H18
TEST(Session, rfc9484_4_7_malformed_capsules_abort) {
  const std::vector<std::pair<const char*, WireError>> cases = {
      {"01 07 00 04 01020304 1c", WireError::HostBitsSet},
      {"01 07 00 05 01020304 20", WireError::BadIpVersion},
      {"01 07 00 04 01020304 21", WireError::BadPrefixLength},
      {"02 00", WireError::EmptyAddressRequest},
      {"02 07 00 04 00000000 20", WireError::ZeroRequestId},
      {"03 0a 04 c0000209 c0000201 00", WireError::BadAddressRange},
      {"03 14 04 c0000200 c000020a 00 04 c000020a c0000214 00", WireError::RouteOrder},
      {"03 14 04 c0000200 c00002ff 00 04 c0000207 c0000207 06", WireError::RouteOverlap},
  };
  for (const auto& [bytes, error] : cases) {
    Fixture f(client_options());
    f.feed(bytes);
    ASSERT_TRUE(f.session.abort_reason()) << bytes;
    EXPECT_EQ(f.session.abort_reason()->cause, SessionAbort::Cause::Malformed) << bytes;
    EXPECT_EQ(f.session.abort_reason()->error, error) << bytes;
    EXPECT_THAT(drain(f.session), testing::Contains(SessionEvent::Aborted)) << bytes;
    f.feed("0107 00 04 c000020b 20");  // nothing happens any more
    EXPECT_TRUE(f.session.assigned_to_us().empty());
    EXPECT_EQ(f.session.next_timeout(), std::nullopt);
  }
}

// proves: H13
TEST(Session, rfc9297_3_2_unknown_capsules_are_skipped) {
  Fixture f(client_options());
  f.feed("17 03 aabbcc 4040 00 9ace79ec 02 0102 0107 00 04 c000020b 20");
  EXPECT_FALSE(f.session.abort_reason());
  EXPECT_EQ(f.session.assigned_to_us(), nets({"192.0.2.11/32"}));
}

// proves: H18
TEST(Session, rfc9297_3_3_fin_inside_a_capsule_is_malformed) {
  Fixture f(client_options());
  f.feed("0107 00 04");
  f.session.on_stream_fin(at(0s));
  ASSERT_TRUE(f.session.abort_reason());
  EXPECT_EQ(f.session.abort_reason()->error, WireError::Truncated);

  Fixture clean(client_options());
  clean.feed("0100");
  clean.session.on_stream_fin(at(0s));
  EXPECT_FALSE(clean.session.abort_reason());
}

// proves: H12, H17
TEST(Session, any_fragmentation_of_the_stream_means_the_same) {
  const auto bytes =
      hex("0107 00 04 c000020b 20  17 03 aabbcc  03 0a 04 c0000200 c0000209 00"
          "01 1a 01 04 c000020b 20 02 06 00000000000000000000000000000000 80");
  EXPECT_TRUE(rc::check([&](const std::vector<uint8_t>& cuts) {
    Fixture f(client_options());
    size_t from = 0;
    for (const uint8_t cut : cuts) {
      const size_t size = std::min<size_t>(cut % 9, bytes.size() - from);
      f.session.on_stream_data(at(0s), Bytes(bytes).subspan(from, size), f.handler);
      from += size;
    }
    f.session.on_stream_data(at(0s), Bytes(bytes).subspan(from), f.handler);
    RC_ASSERT(!f.session.abort_reason());
    RC_ASSERT(f.session.assigned_to_us() == nets({"192.0.2.11/32"}));
    RC_ASSERT(f.session.advertised_by_peer().size() == 1u);
  }));
}

// proves: H13
TEST(Session, trap_7_an_unknown_capsule_is_told_once) {
  Fixture f(client_options());
  f.feed("17 03 aabbcc");  // reserved, to be skipped without a word
  EXPECT_THAT(drain(f.session), testing::IsEmpty());
  f.feed("9eca6a00 01 00  9eca6a01 00");  // ADDRESS_ASSIGN and ADDRESS_REQUEST of an early draft
  EXPECT_THAT(drain(f.session), testing::ElementsAre(SessionEvent::UnknownCapsule));
  ASSERT_TRUE(f.session.unknown_capsule());
  EXPECT_EQ(f.session.unknown_capsule()->value(), 0x1eca6a00u);
  f.feed("9eca6a02 00");
  EXPECT_THAT(drain(f.session), testing::IsEmpty());
  EXPECT_FALSE(f.session.abort_reason());
}

TEST(Session, faults_d12_a_capsule_that_never_ends_is_aborted_at_its_deadline) {
  Fixture f(proxy_options());
  f.feed("03 14 04", at(0s));
  EXPECT_EQ(f.session.next_timeout(), at(30s));
  f.feed("c0", at(20s));  // dripping does not help
  EXPECT_EQ(f.session.next_timeout(), at(30s));
  f.session.on_timeout(at(30s), f.channel, f.handler);
  ASSERT_TRUE(f.session.abort_reason());
  EXPECT_EQ(f.session.abort_reason()->cause, SessionAbort::Cause::CapsuleTooSlow);
}

TEST(Session, faults_c6_a_gateway_takes_no_addresses_from_its_client) {
  Fixture f(proxy_options());
  f.feed("0107 00 04 c000020b 20");
  EXPECT_THAT(drain(f.session), testing::ElementsAre(SessionEvent::AddressesAssigned));
  EXPECT_TRUE(f.session.assigned_to_us().empty());
}

// proves: U4
TEST(Session, rfc9484_7_2_ipv6_on_a_small_path_aborts) {
  Fixture f(client_options());
  f.channel.limit = 1166;
  f.feed("0113 00 06 20010db8000000000000000000000001 80");
  f.session.update_mtu(at(0s), f.channel);
  f.session.on_timeout(at(14s), f.channel, f.handler);
  EXPECT_FALSE(f.session.abort_reason());
  f.session.on_timeout(at(15s), f.channel, f.handler);
  ASSERT_TRUE(f.session.abort_reason());
  EXPECT_EQ(f.session.abort_reason()->cause, SessionAbort::Cause::MtuTooSmall);
}

// proves: U3
TEST(Session, rfc9484_7_2_a_probe_that_fails_tears_the_tunnel_down) {
  enum class Answers : uint8_t { Nothing, Small };
  using Cause = SessionAbort::Cause;
  struct Case {
    MtuProbePolicy policy;
    Answers answers;
    std::optional<Cause> expected;
  };
  for (const auto& [policy, answers, expected] :
       std::vector<Case>{{MtuProbePolicy::Measure, Answers::Nothing, std::nullopt},
                         {MtuProbePolicy::Measure, Answers::Small, Cause::MtuTooSmall},
                         {MtuProbePolicy::Require, Answers::Nothing, Cause::ProbeUnanswered},
                         {MtuProbePolicy::Require, Answers::Small, Cause::MtuTooSmall}}) {
    SessionOptions options = client_options();
    options.ipv6_probe = policy;
    Fixture f(options);
    f.feed("0113 00 06 20010db8000000000000000000000001 80");
    f.session.update_mtu(at(0s), f.channel);
    size_t large = 0;
    while (const auto next = f.session.next_timeout()) {
      EXPECT_LE(*next, at(15s)) << "as patient as with a narrow path";
      f.session.on_timeout(*next, f.channel, f.handler);
      for (const Packet& packet : std::exchange(f.channel.sent, {})) {
        if (packet.size() == 1280) {
          ++large;
        } else if (answers == Answers::Small) {
          f.session.on_http_datagram(*next, test::datagram(test::answer_to(packet, "fd00:8::1")),
                                     f.handler);
        }
      }
    }
    EXPECT_EQ(large, size_t{MtuProbe::kTriesMax});
    const auto abort = f.session.abort_reason();
    EXPECT_EQ(abort ? std::optional(abort->cause) : std::nullopt, expected);
    // What is not proven is told.
    const bool told = std::ranges::contains(drain(f.session), SessionEvent::MtuProbeUnanswered);
    EXPECT_EQ(told, !expected);
    EXPECT_EQ(f.session.counters().ipv6_probes_unanswered, answers == Answers::Nothing ? 1u : 0u);
    EXPECT_TRUE(f.handler.packets.empty());
  }
}

// proves: U3
TEST(Session, two_ends_answer_each_others_probe) {
  SessionOptions for_client = client_options();
  for_client.ipv6_probe = MtuProbePolicy::Require;
  SessionOptions for_proxy = proxy_options();
  for_proxy.ipv6_probe = MtuProbePolicy::Require;
  for_proxy.local_echo = SessionOptions::LocalEcho::Answer;
  for_client.local_echo = SessionOptions::LocalEcho::Answer;
  Fixture client(for_client);
  Fixture proxy(for_proxy);
  proxy.session.assign_addresses(nets({"fd00:8::2/128"}));
  const auto capsules = proxy.session.stream_output();
  client.session.on_stream_data(at(0s), capsules, client.handler);
  for (Fixture* f : {&client, &proxy}) {
    f->session.update_mtu(at(0s), f->channel);
    f->session.on_timeout(at(0s), f->channel, f->handler);
  }
  for (int round = 0; round < 3; ++round) {
    const auto exchange = [](Fixture& from, Fixture& to) {
      from.session.flush(at(0s), from.channel, from.back);
      for (const auto& packet : std::exchange(from.channel.sent, {})) {
        to.session.on_http_datagram(at(0s), test::datagram(packet), to.handler);
      }
    };
    exchange(client, proxy);
    exchange(proxy, client);
  }
  EXPECT_EQ(client.session.figures().ipv6_probe, MtuProbe::State::Confirmed);
  EXPECT_EQ(proxy.session.figures().ipv6_probe, MtuProbe::State::Confirmed);
  EXPECT_TRUE(client.handler.packets.empty());
  EXPECT_TRUE(proxy.handler.packets.empty());
}

}  // namespace
}  // namespace masque
