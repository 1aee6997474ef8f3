// SPDX-License-Identifier: Apache-2.0
#include "core/ip/icmp.h"

#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <algorithm>

#include "core/ip/checksum.h"
#include "core/ip/icmp_limiter.h"

namespace masque {
namespace {

std::vector<uint8_t> hex(std::string_view text) { return from_hex(text).value(); }
IpAddress addr(std::string_view text) { return IpAddress::parse(text).value(); }

std::vector<uint8_t> v4_packet() {
  return hex("45000020000040004011 4e87 c000020b c6336407 9c400035000c0000 61626364");
}
std::vector<uint8_t> v6_packet() {
  return hex(
      "6000000000081140 20010db812340000000000000000000a 20010db834560000000000000000000b"
      "9c40003500081234");
}
const IpAddress kV4Router = addr("192.0.2.1");
const IpAddress kV6Router = addr("2001:db8:ffff::1");

// The error about `packet`, or nothing.
std::vector<uint8_t> error_about(Bytes packet, IcmpError error) {
  const IpPacketView view = parse_ip_packet(packet).value();
  std::vector<uint8_t> out(kIcmpErrorSizeMax);
  const auto size = build_icmp_error(error, view.version == IpVersion::V4 ? kV4Router : kV6Router,
                                     view, PacketSlices{packet, {}}, out);
  out.resize(size.value_or(0));
  return out;
}

void fix_v4(std::vector<uint8_t>& packet) {
  store_be16(packet.data() + 10, 0);
  store_be16(packet.data() + 10, internet_checksum(Bytes(packet).first((packet[0] & 15u) * 4)));
}

// proves: E2, E4
TEST(IcmpError, protocol_15_5_ipv4_too_big) {
  EXPECT_EQ(to_hex(error_about(v4_packet(),
                               {.kind = IcmpErrorKind::TooBig, .mtu = 1280, .ipv4_quote_max = 8})),
            to_hex(hex("4500003800000000 4001f6b8 c0000201 c000020b 03045b7a 00000500"
                       "45000020000040004011 4e87 c000020b c6336407 9c400035000c0000")));
}

// proves: E2, E4
TEST(IcmpError, protocol_15_5_ipv6_too_big) {
  EXPECT_EQ(to_hex(error_about(v6_packet(), {.kind = IcmpErrorKind::TooBig, .mtu = 1280})),
            to_hex(hex(
                "6000000000383a40 20010db8ffff00000000000000000001 20010db812340000000000000000000a"
                "0200c8d0 00000500 6000000000081140 20010db812340000000000000000000a"
                "20010db834560000000000000000000b 9c40003500081234")));
}

// proves: E1, E2
TEST(IcmpError, rfc9484_7_2_1_types_and_codes) {
  const struct {
    IcmpErrorKind kind;
    uint8_t v4_type, v4_code, v6_type, v6_code;
  } kCases[] = {
      {IcmpErrorKind::NoRoute, 3, 0, 1, 0},       {IcmpErrorKind::Prohibited, 3, 13, 1, 1},
      {IcmpErrorKind::BadSource, 3, 13, 1, 5},    {IcmpErrorKind::TooBig, 3, 4, 2, 0},
      {IcmpErrorKind::TimeExceeded, 11, 0, 3, 0},
  };
  for (const auto& c : kCases) {
    const auto v4 = error_about(v4_packet(), {.kind = c.kind, .mtu = 1400});
    ASSERT_GE(v4.size(), 36u);
    EXPECT_EQ(v4[20], c.v4_type);
    EXPECT_EQ(v4[21], c.v4_code);
    EXPECT_EQ(load_be32(v4.data() + 24), c.kind == IcmpErrorKind::TooBig ? 1400u : 0u);
    EXPECT_EQ(internet_checksum(Bytes(v4).subspan(20)), 0);
    EXPECT_EQ(parse_ip_packet(v4)->destination, addr("192.0.2.11"));
    const auto v6 = error_about(v6_packet(), {.kind = c.kind, .mtu = 70000});
    ASSERT_GE(v6.size(), 56u);
    EXPECT_EQ(v6[40], c.v6_type);
    EXPECT_EQ(v6[41], c.v6_code);
    EXPECT_EQ(load_be32(v6.data() + 44), c.kind == IcmpErrorKind::TooBig ? 70000u : 0u);
    EXPECT_EQ(parse_ip_packet(v6)->source, kV6Router);
  }
}

// proves: E4
TEST(IcmpError, rfc4443_2_4_c_quote_fills_1280_bytes) {
  for (const size_t payload : {1223u, 1224u, 1225u, 1300u, 60000u}) {
    auto packet = v6_packet();
    packet.resize(48 + payload - 8);
    store_be16(packet.data() + 4, static_cast<uint16_t>(packet.size() - 40));
    const auto error = error_about(packet, {.kind = IcmpErrorKind::TooBig, .mtu = 1280});
    EXPECT_EQ(error.size(), std::min<size_t>(1280, 48 + packet.size()));
    ASSERT_TRUE(parse_ip_packet(error));
    EXPECT_EQ(to_hex(Bytes(error).subspan(48)), to_hex(Bytes(packet).first(error.size() - 48)));
  }
}

// proves: E4
TEST(IcmpError, rfc1812_4_3_2_3_ipv4_quote_fills_576_bytes_and_never_less_than_8) {
  auto packet = v4_packet();
  packet.resize(1500);
  store_be16(packet.data() + 2, 1500);
  fix_v4(packet);
  EXPECT_EQ(error_about(packet, {.kind = IcmpErrorKind::NoRoute}).size(), 20u + 8 + 20 + 520);
  EXPECT_EQ(error_about(packet, {.kind = IcmpErrorKind::NoRoute, .ipv4_quote_max = 0}).size(),
            20u + 8 + 20 + 8);
  EXPECT_EQ(error_about(packet, {.kind = IcmpErrorKind::NoRoute, .ipv4_quote_max = 9999}).size(),
            1280u);
}

TEST(IcmpError, quotes_across_slices) {
  const auto packet = v6_packet();
  const IpPacketView view = parse_ip_packet(packet).value();
  const auto whole = error_about(packet, {.kind = IcmpErrorKind::NoRoute});
  for (size_t cut = 40; cut <= packet.size(); ++cut) {
    std::vector<uint8_t> out(kIcmpErrorSizeMax);
    const PacketSlices slices{Bytes(packet).first(cut), Bytes(packet).subspan(cut)};
    out.resize(
        build_icmp_error({.kind = IcmpErrorKind::NoRoute}, kV6Router, view, slices, out).value());
    EXPECT_EQ(out, whole);
  }
}

TEST(IcmpError, other_family_router_has_no_answer) {
  const auto packet = v4_packet();
  std::vector<uint8_t> out(kIcmpErrorSizeMax);
  EXPECT_EQ(build_icmp_error({}, kV6Router, parse_ip_packet(packet).value(), {packet, {}}, out),
            std::nullopt);
}

// proves: E5
TEST(IcmpError, rfc4443_2_4_e_never_about_errors_redirects_and_what_might_be_one) {
  const auto icmp6 = [](uint8_t type) {
    auto packet = v6_packet();
    packet[6] = 58;
    packet[40] = type;
    return error_about(packet, {.kind = IcmpErrorKind::NoRoute});
  };
  for (const int type : {0, 1, 2, 3, 4, 100, 127, 137})
    EXPECT_TRUE(icmp6(static_cast<uint8_t>(type)).empty()) << type;
  for (const int type : {128, 129, 133, 255})
    EXPECT_FALSE(icmp6(static_cast<uint8_t>(type)).empty()) << type;

  auto cut = v6_packet();
  cut.resize(40);
  store_be16(cut.data() + 4, 0);
  cut[6] = 58;
  EXPECT_TRUE(error_about(cut, {.kind = IcmpErrorKind::NoRoute}).empty());

  const auto icmp4 = [](uint8_t type) {
    auto packet = v4_packet();
    packet[9] = 1;
    packet[20] = type;
    fix_v4(packet);
    return error_about(packet, {.kind = IcmpErrorKind::TimeExceeded});
  };
  for (const int type : {3, 4, 5, 11, 12})
    EXPECT_TRUE(icmp4(static_cast<uint8_t>(type)).empty()) << type;
  for (const int type : {0, 8, 13}) EXPECT_FALSE(icmp4(static_cast<uint8_t>(type)).empty()) << type;
}

// proves: E5
TEST(IcmpError, rfc4443_2_4_e_never_to_many_but_too_big) {
  auto packet = v6_packet();
  packet[24] = 0xff;
  packet[25] = 0x0e;
  EXPECT_TRUE(error_about(packet, {.kind = IcmpErrorKind::NoRoute}).empty());
  EXPECT_TRUE(error_about(packet, {.kind = IcmpErrorKind::TimeExceeded}).empty());
  EXPECT_FALSE(error_about(packet, {.kind = IcmpErrorKind::TooBig, .mtu = 1280}).empty());
  for (const uint32_t destination : {0xe0000001u, 0xffffffffu}) {
    auto v4 = v4_packet();
    store_be32(v4.data() + 16, destination);
    fix_v4(v4);
    EXPECT_TRUE(error_about(v4, {.kind = IcmpErrorKind::TooBig, .mtu = 1280}).empty());
  }
}

// proves: E5
TEST(IcmpError, rfc4443_2_4_e_never_to_a_source_that_is_not_one_host) {
  for (const uint32_t source :
       {0u, 0x00000001u, 0x7f000001u, 0xe0000001u, 0xf0000001u, 0xffffffffu}) {
    auto v4 = v4_packet();
    store_be32(v4.data() + 12, source);
    fix_v4(v4);
    EXPECT_TRUE(error_about(v4, {.kind = IcmpErrorKind::NoRoute}).empty()) << source;
  }
  for (const std::string_view source : {"::", "::1", "ff02::1"}) {
    auto v6 = v6_packet();
    std::ranges::copy(addr(source).bytes(), v6.begin() + 8);
    EXPECT_TRUE(error_about(v6, {.kind = IcmpErrorKind::NoRoute}).empty()) << source;
  }
}

// proves: E5
TEST(IcmpError, rfc1122_3_2_2_never_about_later_fragments) {
  auto v4 = v4_packet();
  store_be16(v4.data() + 6, 0x0001);
  fix_v4(v4);
  EXPECT_TRUE(error_about(v4, {.kind = IcmpErrorKind::NoRoute}).empty());
  store_be16(v4.data() + 6, 0x2000);
  fix_v4(v4);
  EXPECT_FALSE(error_about(v4, {.kind = IcmpErrorKind::NoRoute}).empty());
}

// proves: E5
TEST(TokenBucket, rfc4443_2_4_f_ten_a_second_burst_ten) {
  TokenBucket bucket({.per_second = 10, .burst = 10});
  Instant now = instant_from_ns(5'000'000'000);
  for (int i = 0; i < 10; ++i) EXPECT_TRUE(bucket.take(now));
  EXPECT_FALSE(bucket.take(now));
  EXPECT_FALSE(bucket.take(now + 99ms));
  EXPECT_TRUE(bucket.take(now + 100ms));
  EXPECT_FALSE(bucket.take(now + 199ms));
  EXPECT_TRUE(bucket.take(now + 200ms));
  EXPECT_EQ(bucket.refused(), 3u);
  now += 1h;
  for (int i = 0; i < 10; ++i) EXPECT_TRUE(bucket.take(now));
  EXPECT_FALSE(bucket.take(now));
  EXPECT_FALSE(bucket.take(now - 1h));
}

TEST(TokenBucket, property_never_more_than_burst_plus_rate) {
  EXPECT_TRUE(rc::check([](const std::vector<uint32_t>& gaps) {
    TokenBucket bucket({.per_second = 50, .burst = 5});
    Instant now{};
    uint64_t passed = 0;
    for (const uint32_t gap : gaps) {
      now += Duration(gap % 100'000'000);
      passed += bucket.take(now) ? 1u : 0u;
    }
    RC_ASSERT(passed <= 5 + to_ns(now) / 20'000'000);
  }));
}

// proves: U3
TEST(IcmpEcho, rfc9484_7_2_probe_makes_1280_bytes_and_is_answered) {
  const std::vector<uint8_t> data(kMtuProbeDataSize, 0xa5);
  EXPECT_EQ(data.size(), 1232u);
  const IcmpEcho request{.source = addr("2001:db8::1"),
                         .destination = addr("ff02::1"),
                         .identifier = 0x1234,
                         .sequence = 7,
                         .data = data};
  std::vector<uint8_t> packet(1280);
  ASSERT_EQ(build_icmp_echo(request, packet), 1280u);
  const IpPacketView view = parse_ip_packet(packet).value();
  const IcmpEcho parsed = parse_icmp_echo(view, packet).value();
  EXPECT_EQ(parsed.kind, IcmpEcho::Kind::Request);
  EXPECT_EQ(parsed.destination, addr("ff02::1"));
  EXPECT_EQ(parsed.identifier, 0x1234);
  EXPECT_EQ(parsed.sequence, 7);
  EXPECT_TRUE(std::ranges::equal(parsed.data, data));

  std::vector<uint8_t> reply(1280);
  ASSERT_EQ(build_icmp_echo({.kind = IcmpEcho::Kind::Reply,
                             .source = addr("2001:db8::2"),
                             .destination = parsed.source,
                             .identifier = parsed.identifier,
                             .sequence = parsed.sequence,
                             .data = parsed.data},
                            reply),
            1280u);
  EXPECT_EQ(parse_icmp_echo(parse_ip_packet(reply).value(), reply)->kind, IcmpEcho::Kind::Reply);
}

TEST(IcmpEcho, both_families_and_small_buffers) {
  for (const auto& [a, b] : {std::pair{"192.0.2.1", "192.0.2.2"}, {"2001:db8::1", "2001:db8::2"}}) {
    const IcmpEcho echo{.kind = IcmpEcho::Kind::Reply,
                        .source = addr(a),
                        .destination = addr(b),
                        .data = as_bytes("x")};
    std::vector<uint8_t> out(200);
    const size_t size = build_icmp_echo(echo, out);
    ASSERT_GT(size, 0u);
    EXPECT_EQ(build_icmp_echo(echo, MutableBytes(out).first(size - 1)), 0u);
    out.resize(size);
    ASSERT_EQ(build_icmp_echo(echo, out), size);
    const IpPacketView view = parse_ip_packet(out).value();
    ASSERT_TRUE(parse_icmp_echo(view, out));
    out.back() ^= 1;
    EXPECT_FALSE(parse_icmp_echo(view, out)) << "a wrong checksum";
  }
  std::vector<uint8_t> large(70000);
  EXPECT_EQ(build_icmp_echo(
                {.source = kV6Router, .destination = kV6Router, .data = Bytes(large).first(65500)},
                large),
            0u);
}

// proves: E6
TEST(IcmpErrorQuote, rfc9484_11_quoted_addresses_are_read) {
  for (const auto& packet : {v4_packet(), v6_packet()}) {
    const auto error = error_about(packet, {.kind = IcmpErrorKind::TooBig, .mtu = 1280});
    const IpPacketView view = parse_ip_packet(error).value();
    const QuotedPacket quoted = parse_icmp_error_quote(view, error).value();
    const IpPacketView original = parse_ip_packet(packet).value();
    EXPECT_EQ(quoted.source, original.source);
    EXPECT_EQ(quoted.destination, original.destination);
    EXPECT_EQ(quoted.protocol, 17);
    EXPECT_FALSE(parse_icmp_error_quote(original, packet));
  }
}

// proves: S10
TEST(IcmpErrorQuote, rfc9484_4_8_extension_headers_of_the_quote_are_walked) {
  // Destination options before the UDP header of v6_packet().
  std::vector<uint8_t> packet = v6_packet();
  store_be16(packet.data() + 4, 16);
  packet[6] = ip_protocol::kDestinationOptions;
  const auto options = hex("11 00 01 04 00000000");
  packet.insert(packet.begin() + 40, options.begin(), options.end());
  auto error = error_about(packet, {.kind = IcmpErrorKind::TimeExceeded});
  EXPECT_EQ(parse_icmp_error_quote(parse_ip_packet(error).value(), error)->protocol, 17);
  error.resize(40 + 8 + 40 + 4);  // the quote ends within the options
  store_be16(error.data() + 4, static_cast<uint16_t>(error.size() - 40));
  EXPECT_EQ(parse_icmp_error_quote(parse_ip_packet(error).value(), error)->protocol,
            ip_protocol::kDestinationOptions);
}

TEST(IcmpErrorQuote, echo_and_cut_quotes_are_not_errors) {
  std::vector<uint8_t> echo(100);
  echo.resize(
      build_icmp_echo({.source = kV4Router, .destination = kV4Router, .data = v4_packet()}, echo));
  EXPECT_FALSE(parse_icmp_error_quote(parse_ip_packet(echo).value(), echo));
  echo[20] = 3;  // unreachable, with 20 bytes of quote at least
  EXPECT_TRUE(parse_icmp_error_quote(parse_ip_packet(echo).value(), echo));
  echo.resize(47);
  store_be16(echo.data() + 2, 47);
  fix_v4(echo);
  EXPECT_FALSE(parse_icmp_error_quote(parse_ip_packet(echo).value(), echo));
}

}  // namespace
}  // namespace masque
