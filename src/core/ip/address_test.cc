// SPDX-License-Identifier: Apache-2.0
#include "core/ip/address.h"

#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <algorithm>

#include "core/ip/socket_address.h"

namespace masque {
namespace {

IpAddress addr(std::string_view text) { return IpAddress::parse(text).value(); }
IpPrefix prefix(std::string_view text) { return IpPrefix::parse(text).value(); }

IpAddress random_address() {
  if (*rc::gen::arbitrary<bool>()) return IpAddress::v4(*rc::gen::arbitrary<uint32_t>());
  std::array<uint8_t, 16> bytes;
  // Few distinct bytes make runs of zeros and near neighbours likely.
  for (uint8_t& b : bytes) b = *rc::gen::element<uint8_t>(0, 0, 0, 1, 0x80, 0xff);
  return IpAddress::v6(bytes);
}

TEST(IpAddress, parses_and_prints_canonically) {
  const struct {
    std::string_view in, out;
  } kCases[] = {
      {"0.0.0.0", "0.0.0.0"},
      {"192.0.2.255", "192.0.2.255"},
      {"::", "::"},
      {"::1", "::1"},
      {"1::", "1::"},
      {"2001:DB8::0:1", "2001:db8::1"},
      {"2001:0db8:0:0:1:0:0:1", "2001:db8::1:0:0:1"},    // RFC 5952 4.2.3: the first of equal runs
      {"2001:db8:0:1:1:1:1:1", "2001:db8:0:1:1:1:1:1"},  // 4.2.2: one group is not shortened
      {"2001:0:0:1:0:0:0:1", "2001:0:0:1::1"},           // 4.2.3: the longest run
      {"1:2:3:4:5:6:7::", "1:2:3:4:5:6:7:0"},
      {"::2:3:4:5:6:7:8", "0:2:3:4:5:6:7:8"},
      {"::ffff:192.0.2.1", "::ffff:192.0.2.1"},
      {"64:ff9b::192.0.2.33", "64:ff9b::c000:221"},
      {"0:0:0:0:0:0:13.1.68.3", "::d01:4403"},
      {"fe80::", "fe80::"},
      {"ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"},
  };
  for (const auto& c : kCases) {
    const auto parsed = IpAddress::parse(c.in);
    ASSERT_TRUE(parsed) << c.in;
    EXPECT_EQ(parsed->to_string(), c.out);
  }
}

TEST(IpAddress, refuses_everything_else) {
  for (const std::string_view text : {"",
                                      " ",
                                      "1",
                                      "1.2.3",
                                      "1.2.3.4.5",
                                      "1.2.3.256",
                                      "01.2.3.4",
                                      "1.2.3.4 ",
                                      "1..2.3",
                                      "1.2.3.-4",
                                      "0x1.2.3.4",
                                      "1.2.3.4/32",
                                      ":",
                                      ":::",
                                      "1:2:3:4:5:6:7",
                                      "1:2:3:4:5:6:7:8:9",
                                      "1::2::3",
                                      "12345::",
                                      "::g",
                                      ":1::",
                                      "1:",
                                      "1:2:3:4:5:6:7:8::",
                                      "::1:2:3:4:5:6:7:8",
                                      "1.2.3.4::",
                                      "::1.2.3",
                                      "::1.2.3.4:5",
                                      "fe80::1%eth0",
                                      "[::1]",
                                      "::+1",
                                      "::-1",
                                      "1:2:3:4:5:6:7:1.2.3.4",
                                      "::ffff:1.2.3.04"}) {
    EXPECT_FALSE(IpAddress::parse(text)) << text;
  }
}

TEST(IpAddress, property_text_round_trip) {
  EXPECT_TRUE(rc::check([] {
    const IpAddress address = random_address();
    RC_ASSERT(IpAddress::parse(address.to_string()).value() == address);
    RC_ASSERT(IpAddress::from_bytes(address.bytes()).value() == address);
  }));
}

TEST(IpAddress, from_bytes_takes_4_or_16) {
  const std::array<uint8_t, 17> bytes{};
  for (size_t n = 0; n <= bytes.size(); ++n) {
    EXPECT_EQ(IpAddress::from_bytes(Bytes(bytes).first(n)).has_value(), n == 4 || n == 16) << n;
  }
}

TEST(IpAddress, orders_by_family_then_value) {
  EXPECT_LT(addr("255.255.255.255"), addr("::"));
  EXPECT_LT(addr("9.0.0.0"), addr("10.0.0.0"));
  EXPECT_LT(addr("2001:db8::ff"), addr("2001:db8::100"));
}

TEST(IpAddress, special_kinds) {
  EXPECT_TRUE(addr("0.0.0.0").is_any());
  EXPECT_TRUE(addr("::").is_any());
  EXPECT_FALSE(addr("::1").is_any());
  EXPECT_TRUE(addr("127.255.0.1").is_loopback());
  EXPECT_TRUE(addr("::1").is_loopback());
  EXPECT_FALSE(addr("::2").is_loopback());
  EXPECT_TRUE(addr("224.0.0.1").is_multicast());
  EXPECT_TRUE(addr("239.255.255.255").is_multicast());
  EXPECT_FALSE(addr("240.0.0.0").is_multicast());
  EXPECT_TRUE(addr("ff0e::1").is_multicast());
  EXPECT_TRUE(addr("255.255.255.255").is_broadcast());
  EXPECT_FALSE(addr("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff").is_broadcast());
}

// proves: K6
TEST(IpAddress, rfc9484_7_1_link_local_ranges) {
  EXPECT_TRUE(addr("169.254.0.1").is_link_local());
  EXPECT_FALSE(addr("169.255.0.1").is_link_local());
  EXPECT_TRUE(addr("fe80::1").is_link_local());
  EXPECT_TRUE(addr("febf::1").is_link_local());
  EXPECT_FALSE(addr("fec0::1").is_link_local());
  EXPECT_TRUE(addr("ff02::1").is_link_local_multicast());
  EXPECT_TRUE(addr("ff12::1").is_link_local_multicast());
  EXPECT_FALSE(addr("ff05::1").is_link_local_multicast());
  EXPECT_TRUE(addr("224.0.0.251").is_link_local_multicast());
  EXPECT_FALSE(addr("224.0.1.1").is_link_local_multicast());
}

TEST(IpAddress, next_and_previous_stop_at_the_ends) {
  EXPECT_EQ(addr("0.0.0.255").next(), addr("0.0.1.0"));
  EXPECT_EQ(addr("255.255.255.255").next(), std::nullopt);
  EXPECT_EQ(addr("0.0.0.0").previous(), std::nullopt);
  EXPECT_EQ(addr("::").previous(), std::nullopt);
  EXPECT_EQ(addr("::1:0").previous(), addr("::ffff"));
  EXPECT_EQ(addr("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff").next(), std::nullopt);
}

// proves: A3, R2
TEST(IpPrefix, rfc9484_4_7_1_host_bits_refused) {
  EXPECT_EQ(IpPrefix::make(addr("1.2.3.4"), 28).error(), WireError::HostBitsSet);
  EXPECT_EQ(IpPrefix::make(addr("1.2.3.16"), 28)->to_string(), "1.2.3.16/28");
  EXPECT_EQ(IpPrefix::make(addr("2001:db8::1"), 127).error(), WireError::HostBitsSet);
  EXPECT_EQ(IpPrefix::make(addr("::"), 0)->to_string(), "::/0");
}

// proves: A3
TEST(IpPrefix, rfc9484_4_7_1_length_limits) {
  EXPECT_TRUE(IpPrefix::make(addr("1.2.3.4"), 32));
  EXPECT_EQ(IpPrefix::make(addr("1.2.3.4"), 33).error(), WireError::BadPrefixLength);
  EXPECT_TRUE(IpPrefix::make(addr("::1"), 128));
  EXPECT_EQ(IpPrefix::make(addr("::1"), 129).error(), WireError::BadPrefixLength);
}

TEST(IpPrefix, parses_text) {
  EXPECT_EQ(prefix("10.8.0.0/24").to_string(), "10.8.0.0/24");
  EXPECT_EQ(prefix("10.8.0.7").to_string(), "10.8.0.7/32");
  EXPECT_EQ(prefix("2001:db8::/32").length(), 32);
  for (const std::string_view text :
       {"", "/", "/8", "10.0.0.0/", "10.0.0.0/33", "10.0.0.0/-1", "10.0.0.0/008", "10.0.0.0/8/",
        "10.0.0.0/8 ", "::/129", "::/0128", "10.0.0.1/8"}) {
    EXPECT_FALSE(IpPrefix::parse(text)) << text;
  }
}

TEST(IpPrefix, contains_and_overlaps) {
  EXPECT_TRUE(prefix("10.8.0.0/23").contains(addr("10.8.1.255")));
  EXPECT_FALSE(prefix("10.8.0.0/23").contains(addr("10.8.2.0")));
  EXPECT_FALSE(prefix("0.0.0.0/0").contains(addr("::")));
  EXPECT_TRUE(prefix("0.0.0.0/0").contains(addr("255.0.0.1")));
  EXPECT_TRUE(prefix("10.0.0.0/8").contains(prefix("10.8.0.0/24")));
  EXPECT_FALSE(prefix("10.8.0.0/24").contains(prefix("10.0.0.0/8")));
  EXPECT_TRUE(prefix("10.8.0.0/24").overlaps(prefix("10.0.0.0/8")));
  EXPECT_FALSE(prefix("10.8.0.0/24").overlaps(prefix("10.8.1.0/24")));
  EXPECT_EQ(prefix("10.8.0.0/23").last(), addr("10.8.1.255"));
  EXPECT_EQ(prefix("::/0").last(), addr("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"));
}

// proves: V8
TEST(ToPrefixes, rfc9484_4_7_3_range_as_minimal_prefixes) {
  const auto texts = [](std::string_view first, std::string_view last) {
    std::string out;
    for (const IpPrefix& p : to_prefixes({addr(first), addr(last)})) out += p.to_string() + " ";
    return out;
  };
  EXPECT_EQ(texts("0.0.0.0", "255.255.255.255"), "0.0.0.0/0 ");
  EXPECT_EQ(texts("::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"), "::/0 ");
  EXPECT_EQ(texts("192.0.2.0", "192.0.2.41"), "192.0.2.0/27 192.0.2.32/29 192.0.2.40/31 ");
  EXPECT_EQ(texts("192.0.2.43", "192.0.2.255"),
            "192.0.2.43/32 192.0.2.44/30 192.0.2.48/28 192.0.2.64/26 192.0.2.128/25 ");
  EXPECT_EQ(texts("2001:db8::1", "2001:db8::1"), "2001:db8::1/128 ");
  EXPECT_EQ(to_prefixes({addr("0.0.0.1"), addr("255.255.255.254")}).size(), 62u);
  EXPECT_EQ(to_prefixes({addr("::1"), addr("ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe")}).size(),
            254u);
}

TEST(ToPrefixes, property_covers_exactly_the_range_and_is_minimal) {
  EXPECT_TRUE(rc::check([] {
    IpAddress a = random_address();
    IpAddress b = random_address();
    if (a.version() != b.version()) b = a;
    if (b < a) std::swap(a, b);
    const std::vector<IpPrefix> prefixes = to_prefixes({a, b});
    RC_ASSERT(prefixes.front().first() == a);
    RC_ASSERT(prefixes.back().last() == b);
    for (size_t i = 1; i < prefixes.size(); ++i) {
      RC_ASSERT(prefixes[i - 1].last().next() == prefixes[i].first());
      // Two neighbours that were halves of one block would not be minimal.
      const IpPrefix& p = prefixes[i - 1];
      const bool halves =
          p.length() == prefixes[i].length() && p.length() > 0 &&
          IpPrefix::containing(p.first(), static_cast<uint8_t>(p.length() - 1)).last() ==
              prefixes[i].last();
      RC_ASSERT(!halves);
    }
    RC_ASSERT(to_ranges(prefixes) == (std::vector<IpRange>{{a, b}}));
  }));
}

TEST(ToRanges, merges_overlaps_and_neighbours_of_one_family) {
  const std::vector<IpRange> ranges = to_ranges(
      {prefix("10.0.1.0/24"), prefix("10.0.0.0/24"), prefix("10.0.0.128/25"), prefix("10.0.3.0/24"),
       prefix("255.255.255.255/32"), prefix("::/64"), prefix("255.0.0.0/8")});
  EXPECT_EQ(ranges, (std::vector<IpRange>{{addr("10.0.0.0"), addr("10.0.1.255")},
                                          {addr("10.0.3.0"), addr("10.0.3.255")},
                                          {addr("255.0.0.0"), addr("255.255.255.255")},
                                          {addr("::"), addr("::ffff:ffff:ffff:ffff")}}));
  EXPECT_TRUE(to_ranges({}).empty());
}

TEST(SocketAddress, parses_and_prints) {
  EXPECT_EQ(SocketAddress::parse("192.0.2.1:443")->to_string(), "192.0.2.1:443");
  EXPECT_EQ(SocketAddress::parse("[2001:db8::1]:65535")->to_string(), "[2001:db8::1]:65535");
  EXPECT_EQ(SocketAddress::parse("0.0.0.0:0")->port, 0);
  for (const std::string_view text :
       {"", ":443", "192.0.2.1", "192.0.2.1:", "192.0.2.1:65536", "192.0.2.1:-1", "192.0.2.1:4x",
        "::1:443", "[::1]", "[::1]:", "[192.0.2.1]:443", "[::1:443", "::1]:443", "192.0.2.1:000443",
        "localhost:443"}) {
    EXPECT_FALSE(SocketAddress::parse(text)) << text;
  }
}

}  // namespace
}  // namespace masque
