// SPDX-License-Identifier: Apache-2.0
// A client's ROUTE_ADVERTISEMENT costs the gateway what its bytes cost, not what its ranges could
// be cut into: 4096 legal ranges of 2^116 addresses each are a million prefixes.
#include <gtest/gtest.h>

#include "core/server/gateway_test_support.h"
#include "property/allocation_counter.h"

namespace masque {
namespace {

using test::GatewayWorld;
using test::nets;

// Each from ...::1 of a /12 to its last address but one: some 230 prefixes.
std::vector<uint8_t> widest_list(size_t count) {
  RouteAdvertisement capsule;
  for (uint32_t i = 0; i < count; ++i) {
    std::array<uint8_t, 16> first{};
    std::array<uint8_t, 16> last;
    last.fill(0xff);
    store_be32(first.data(), i << 20);
    store_be32(last.data(), i << 20 | 0xfffff);
    first[15] = 1;
    last[15] = 0xfe;
    capsule.ranges.push_back({.range = {IpAddress::v6(first), IpAddress::v6(last)}});
  }
  ByteBuffer out;
  encode(capsule, out);
  return out.take();
}

size_t allocations_of(GatewayWorld& w, test::FakeHttpConnection& from, Bytes list) {
  const size_t before = allocations_by_new();
  w.gateway.on_stream_data(from, StreamId(0), list);
  return allocations_by_new() - before;
}

// Of a whole list, however it is judged: the list itself and its tables, which grow by doubling.
constexpr size_t kAllocationsMax = 200;

TEST(SiteRoutesAllocation, a_list_without_permission_is_not_cut_into_prefixes) {
  GatewayWorld w;
  auto& anna = w.open("anna");
  const auto list = widest_list(kAddressRangesMax);
  EXPECT_LT(allocations_of(w, anna, list), kAllocationsMax);
  EXPECT_EQ(w.gateway.counters().routes_refused, kAddressRangesMax);
  ASSERT_FALSE(anna.streams[StreamId(0)].aborted);

  // A policy change judges the stored list again.
  const size_t before = allocations_by_new();
  w.gateway.set_policy(std::make_unique<PolicySnapshot>(GatewayWorld::default_policy()));
  EXPECT_LT(allocations_by_new() - before, kAllocationsMax);
}

TEST(SiteRoutesAllocation, a_permitted_list_is_cut_no_further_than_it_can_be_used) {
  PolicySnapshot policy = GatewayWorld::default_policy();
  policy.clients["anna"].own_subnets = nets({"::/0"});
  GatewayWorld w({}, policy);
  auto& anna = w.open("anna");
  EXPECT_LT(allocations_of(w, anna, widest_list(kAddressRangesMax)), 2 * kAllocationsMax);
  EXPECT_EQ(w.gateway.sessions()[0].site_subnets.size(), 64u);
  EXPECT_LE(w.gateway.counters().routes_refused, 2 * kAddressRangesMax);
}

}  // namespace
}  // namespace masque
