// SPDX-License-Identifier: Apache-2.0
#include "core/client/ipv6_fallback.h"

#include <gtest/gtest.h>

namespace masque {
namespace {

Instant at(Duration since) { return Instant(100s) + since; }

TEST(Ipv6Fallback, ipv4_alone_for_a_while_that_doubles) {
  Ipv6Fallback fallback({.first = 10s, .max = 30s});
  EXPECT_FALSE(fallback.ipv4_only());
  EXPECT_FALSE(fallback.on_timeout(at(0s)));
  Instant now = at(0s);
  for (const Duration length : {10s, 20s, 30s, 30s}) {
    fallback.on_too_narrow(now, Ipv6Fallback::ToldBy::Quic);
    EXPECT_TRUE(fallback.ipv4_only());
    EXPECT_EQ(fallback.next_timeout(), now + length);
    EXPECT_FALSE(fallback.on_timeout(now + length - 1ns));
    now += length;
    EXPECT_TRUE(fallback.on_timeout(now));
    EXPECT_FALSE(fallback.ipv4_only());
  }
}

TEST(Ipv6Fallback, a_path_that_is_wide_enough_is_asked_soon) {
  Ipv6Fallback fallback({.first = 10s, .max = 30s});
  fallback.on_wide_enough(at(0s));
  EXPECT_FALSE(fallback.next_timeout());
  fallback.on_too_narrow(at(0s), Ipv6Fallback::ToldBy::Quic);
  fallback.on_wide_enough(at(2s));
  EXPECT_EQ(fallback.next_timeout(), at(3s));
  fallback.on_wide_enough(at(2500ms));
  EXPECT_EQ(fallback.next_timeout(), at(3s)) << "counted from the first time";
}

TEST(Ipv6Fallback, what_echoes_told_is_not_overruled_by_quic) {
  Ipv6Fallback fallback({.first = 10s, .max = 30s});
  fallback.on_too_narrow(at(0s), Ipv6Fallback::ToldBy::Echo);
  fallback.on_wide_enough(at(2s));
  EXPECT_EQ(fallback.next_timeout(), at(10s));
}

TEST(Ipv6Fallback, another_network_is_another_path) {
  Ipv6Fallback fallback({.first = 10s, .max = 30s});
  fallback.on_too_narrow(at(0s), Ipv6Fallback::ToldBy::Quic);
  fallback.on_too_narrow(at(10s), Ipv6Fallback::ToldBy::Quic);
  fallback.on_network_changed();
  EXPECT_FALSE(fallback.ipv4_only());
  EXPECT_FALSE(fallback.next_timeout());
  fallback.on_too_narrow(at(20s), Ipv6Fallback::ToldBy::Quic);
  EXPECT_EQ(fallback.next_timeout(), at(30s));
}

}  // namespace
}  // namespace masque
