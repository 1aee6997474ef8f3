// SPDX-License-Identifier: Apache-2.0
#include "core/capsule/http_datagram.h"

#include <gtest/gtest.h>

namespace masque {
namespace {

std::vector<uint8_t> hex(std::string_view text) { return from_hex(text).value(); }

// proves: D1, VI1
TEST(HttpDatagram, rfc9484_6_context_0_is_an_ip_packet) {
  const auto datagram = hex("00 45000020");
  const auto parsed = parse_http_datagram(datagram).value();
  EXPECT_EQ(parsed.context, kIpPacketContext);
  EXPECT_EQ(to_hex(parsed.payload), "45000020");
  const auto long_zero = hex("4000 60");  // a non-minimal 0 is 0
  EXPECT_EQ(parse_http_datagram(long_zero)->context, kIpPacketContext);
  EXPECT_EQ(parse_http_datagram(long_zero)->payload.size(), 1u);
}

// proves: D3, D4
TEST(HttpDatagram, rfc9484_6_other_contexts_and_empty_payloads_are_told_apart) {
  const auto five = hex("05 abcd");
  EXPECT_EQ(parse_http_datagram(five)->context, ContextId(5));
  const auto largest = hex("ffffffffffffffff");
  EXPECT_EQ(parse_http_datagram(largest)->context, ContextId(ContextId::kMax));
  EXPECT_TRUE(parse_http_datagram(largest)->payload.empty());
  EXPECT_TRUE(parse_http_datagram(hex("00"))->payload.empty());
}

TEST(HttpDatagram, cut_context_id_is_truncated) {
  for (const std::string_view cut : {"", "40", "80", "800000", "c0000000000000"}) {
    EXPECT_EQ(parse_http_datagram(hex(cut)).error(), WireError::Truncated) << cut;
  }
}

// proves: D1, D2
TEST(ContextIds, rfc9484_5_client_even_proxy_odd_never_twice) {
  ContextIds client(ContextIds::Side::Client);
  ContextIds proxy(ContextIds::Side::Proxy);
  EXPECT_EQ(client.allocate(), ContextId(2));
  EXPECT_EQ(client.allocate(), ContextId(4));
  EXPECT_EQ(proxy.allocate(), ContextId(1));
  EXPECT_EQ(proxy.allocate(), ContextId(3));
  EXPECT_EQ(client.on_peer_allocates(ContextId(0)).error(), WireError::Unexpected);
  EXPECT_EQ(client.on_peer_allocates(ContextId(6)).error(), WireError::Unexpected);
  EXPECT_TRUE(client.on_peer_allocates(ContextId(9)));
  EXPECT_TRUE(client.on_peer_allocates(ContextId(7)));  // any order
  EXPECT_EQ(client.on_peer_allocates(ContextId(9)).error(), WireError::Unexpected);
  EXPECT_TRUE(proxy.on_peer_allocates(ContextId(8)));
  EXPECT_EQ(proxy.on_peer_allocates(ContextId(1)).error(), WireError::Unexpected);
}

// proves: D3
TEST(ContextIds, unknown_contexts_are_unknown) {
  ContextIds client(ContextIds::Side::Client);
  EXPECT_TRUE(client.known(kIpPacketContext));
  EXPECT_FALSE(client.known(ContextId(5)));
  ASSERT_TRUE(client.on_peer_allocates(ContextId(5)));
  EXPECT_TRUE(client.known(ContextId(5)));
}

TEST(ContextIds, at_the_limit_and_past_it) {
  ContextIds proxy(ContextIds::Side::Proxy);
  for (uint64_t i = 1; i <= ContextIds::kRegisteredMax; ++i)
    ASSERT_TRUE(proxy.on_peer_allocates(ContextId(2 * i)));
  EXPECT_EQ(proxy.on_peer_allocates(ContextId(1000)).error(), WireError::TooMany);
  EXPECT_EQ(proxy.allocate().error(), WireError::TooMany);
}

}  // namespace
}  // namespace masque
