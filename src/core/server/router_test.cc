// SPDX-License-Identifier: Apache-2.0
#include "core/server/router.h"

#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <map>

#include "core/tunnel/test_packets.h"

namespace masque {
namespace {

using test::ip;
using test::net;

TEST(Router, the_longest_prefix_wins) {
  Router router;
  EXPECT_TRUE(router.add(net("10.0.0.0/8"), 1));
  EXPECT_TRUE(router.add(net("10.8.0.0/16"), 2));
  EXPECT_TRUE(router.add(net("10.8.0.2/32"), 3));
  EXPECT_TRUE(router.add(net("0.0.0.0/0"), 4));
  EXPECT_EQ(router.find(ip("10.8.0.2")), 3u);
  EXPECT_EQ(router.find(ip("10.8.0.3")), 2u);
  EXPECT_EQ(router.find(ip("10.9.0.3")), 1u);
  EXPECT_EQ(router.find(ip("192.0.2.1")), 4u);
  EXPECT_EQ(router.find(ip("fd00::1")), std::nullopt);
}

TEST(Router, ipv6_lengths_on_both_sides_of_64) {
  Router router;
  router.add(net("fd00::/16"), 1);
  router.add(net("fd00:8::/64"), 2);
  router.add(net("fd00:8::8000:0:0:0/65"), 3);
  router.add(net("fd00:8::2/128"), 4);
  EXPECT_EQ(router.find(ip("fd00:9::1")), 1u);
  EXPECT_EQ(router.find(ip("fd00:8::1")), 2u);
  EXPECT_EQ(router.find(ip("fd00:8::8000:0:0:1")), 3u);
  EXPECT_EQ(router.find(ip("fd00:8::2")), 4u);
  EXPECT_EQ(router.find_exact(net("fd00:8::2/128")), 4u);
  EXPECT_EQ(router.find_exact(net("fd00:8::2/127")), std::nullopt);
}

TEST(Router, a_prefix_has_one_owner_and_can_be_given_again) {
  Router router;
  EXPECT_TRUE(router.add(net("10.8.0.2/32"), 1));
  EXPECT_FALSE(router.add(net("10.8.0.2/32"), 2));
  router.remove(net("10.8.0.2/32"));
  router.remove(net("10.8.0.2/32"));
  EXPECT_EQ(router.find(ip("10.8.0.2")), std::nullopt);
  EXPECT_TRUE(router.add(net("10.8.0.2/32"), 2));
  EXPECT_EQ(router.find(ip("10.8.0.2")), 2u);
}

TEST(Router, agrees_with_a_map_under_random_changes) {
  EXPECT_TRUE(
      rc::check([](const std::vector<std::tuple<uint16_t, uint8_t, bool>>& steps, uint16_t probe) {
        Router router;
        std::map<IpPrefix, uint32_t> model;
        uint32_t slot = 0;
        for (const auto& [bits, length, add] : steps) {
          // Few distinct addresses, so that prefixes nest and collide.
          const auto prefix =
              IpPrefix::containing(IpAddress::v4(uint32_t{bits} << 20 | bits), length % 33);
          if (add) {
            RC_ASSERT(router.add(prefix, slot) == model.emplace(prefix, slot).second);
            ++slot;
          } else {
            router.remove(prefix);
            model.erase(prefix);
          }
        }
        RC_ASSERT(router.size() == model.size());
        const IpAddress address = IpAddress::v4(uint32_t{probe} << 20 | probe);
        std::optional<uint32_t> expected;
        int best = -1;
        for (const auto& [prefix, owner] : model) {
          if (!prefix.contains(address) || prefix.length() <= best) continue;
          best = prefix.length();
          expected = owner;
        }
        RC_ASSERT(router.find(address) == expected);
        for (const auto& [prefix, owner] : model) RC_ASSERT(router.find_exact(prefix) == owner);
      }));
}

}  // namespace
}  // namespace masque
