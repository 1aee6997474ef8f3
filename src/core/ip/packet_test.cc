// SPDX-License-Identifier: Apache-2.0
#include "core/ip/packet.h"

#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <algorithm>

#include "core/ip/checksum.h"

namespace masque {
namespace {

std::vector<uint8_t> hex(std::string_view text) { return from_hex(text).value(); }

// UDP 192.0.2.11:40000 -> 198.51.100.7:53, four bytes of data.
std::vector<uint8_t> udp_packet() {
  return hex("45000020000040004011 4e87 c000020b c6336407 9c400035000c0000 61626364");
}

void fix_v4(std::vector<uint8_t>& packet) {
  const size_t header = (packet[0] & 15u) * 4;
  store_be16(packet.data() + 10, 0);
  store_be16(packet.data() + 10, internet_checksum(Bytes(packet).first(header)));
}

PacketFault fault_of(Bytes packet) {
  const auto view = parse_ip_packet(packet);
  EXPECT_FALSE(view.has_value());
  return view ? PacketFault::Empty : view.error();
}

// An IPv6 packet with these bytes after the fixed header.
std::vector<uint8_t> v6_packet(uint8_t next_header, std::string_view rest) {
  const std::vector<uint8_t> payload = hex(rest);
  std::vector<uint8_t> packet =
      hex("60000000 0000 00 40 20010db8000000000000000000000001 20010db8000000000000000000000002");
  store_be16(packet.data() + 4, static_cast<uint16_t>(payload.size()));
  packet[6] = next_header;
  packet.insert(packet.end(), payload.begin(), payload.end());
  return packet;
}

TEST(ParseIpPacket, protocol_15_3_vector) {
  const auto packet = udp_packet();
  const IpPacketView view = parse_ip_packet(packet).value();
  EXPECT_EQ(view.version, IpVersion::V4);
  EXPECT_EQ(view.source.to_string(), "192.0.2.11");
  EXPECT_EQ(view.destination.to_string(), "198.51.100.7");
  EXPECT_EQ(view.protocol, 17);
  EXPECT_EQ(view.ttl, 64);
  EXPECT_TRUE(view.dont_fragment);
  EXPECT_EQ(view.fragment, Fragment::Whole);
  EXPECT_EQ(view.header_length, 20);
  EXPECT_EQ(view.transport_offset, 20);
  EXPECT_EQ(view.length, 32u);
}

TEST(ParseIpPacket, dscp_and_ecn_of_both_families) {
  auto v4 = udp_packet();
  v4[1] = 46 << 2 | 1;
  fix_v4(v4);
  EXPECT_EQ(parse_ip_packet(v4)->dscp, 46);
  EXPECT_EQ(parse_ip_packet(v4)->ecn, Ecn::Ect1);
  auto v6 = v6_packet(59, "");
  v6[0] = 0x6b;  // traffic class 0xbb
  v6[1] = 0xb0;
  EXPECT_EQ(parse_ip_packet(v6)->dscp, 46);
  EXPECT_EQ(parse_ip_packet(v6)->ecn, Ecn::Ce);
}

// C11 of the fault list.
TEST(ParseIpPacket, bad_ipv4_headers_are_refused) {
  const auto changed = [](size_t at, uint8_t value) {
    auto packet = udp_packet();
    packet[at] = value;
    return packet;
  };
  EXPECT_EQ(fault_of({}), PacketFault::Empty);
  EXPECT_EQ(fault_of(changed(0, 0x05)), PacketFault::BadVersion);
  EXPECT_EQ(fault_of(changed(0, 0x55)), PacketFault::BadVersion);
  EXPECT_EQ(fault_of(changed(0, 0xf5)), PacketFault::BadVersion);
  EXPECT_EQ(fault_of(changed(0, 0x44)), PacketFault::BadHeaderLength);
  EXPECT_EQ(fault_of(changed(0, 0x40)), PacketFault::BadHeaderLength);
  EXPECT_EQ(fault_of(changed(0, 0x4f)), PacketFault::LengthBelowHeader);
  EXPECT_EQ(fault_of(changed(3, 0x13)), PacketFault::LengthBelowHeader);
  EXPECT_EQ(fault_of(changed(3, 0x1f)), PacketFault::LengthTooShort);
  EXPECT_EQ(fault_of(changed(3, 0x21)), PacketFault::LengthTooLong);
  EXPECT_EQ(fault_of(changed(11, 0x88)), PacketFault::BadHeaderChecksum);
  EXPECT_EQ(fault_of(changed(8, 0x3f)), PacketFault::BadHeaderChecksum);
}

TEST(ParseIpPacket, every_truncation_is_refused) {
  for (const auto& packet : {udp_packet(), v6_packet(17, "9c400035000c0000 61626364"),
                             v6_packet(0, "3c00010400000000 1100010400000000 9c40003500080000")}) {
    ASSERT_TRUE(parse_ip_packet(packet));
    for (size_t n = 0; n < packet.size(); ++n)
      EXPECT_FALSE(parse_ip_packet(Bytes(packet).first(n))) << n;
  }
}

TEST(ParseIpPacket, ipv4_options_and_largest_packet) {
  std::vector<uint8_t> packet(kPacketSizeMax);
  packet[0] = 0x4f;
  store_be16(packet.data() + 2, 65535);
  packet[8] = 1;
  packet[9] = 6;
  fix_v4(packet);
  const IpPacketView view = parse_ip_packet(packet).value();
  EXPECT_EQ(view.header_length, 60);
  EXPECT_EQ(view.length, 65535u);
  EXPECT_EQ(view.fragment, Fragment::Whole);
}

TEST(ParseIpPacket, head_may_be_shorter_than_the_packet) {
  const auto packet = udp_packet();
  EXPECT_TRUE(parse_ip_packet(Bytes(packet).first(20), packet.size()));
  EXPECT_TRUE(parse_ip_packet(PacketSlices{Bytes(packet).first(28), Bytes(packet).subspan(28)}));
}

TEST(ParseIpPacket, ipv4_fragments) {
  const auto with = [](uint16_t field) {
    auto packet = udp_packet();
    store_be16(packet.data() + 6, field);
    fix_v4(packet);
    return parse_ip_packet(packet)->fragment;
  };
  EXPECT_EQ(with(0x0000), Fragment::Whole);
  EXPECT_EQ(with(0x2000), Fragment::First);
  EXPECT_EQ(with(0x2001), Fragment::Later);
  EXPECT_EQ(with(0x1fff), Fragment::Later);
}

// proves: S10, Z4
TEST(ParseIpPacket, rfc9484_4_8_walks_to_the_first_non_extension_header) {
  const struct {
    std::string_view name;
    uint8_t next;
    std::string_view rest;
    uint8_t protocol;
    uint16_t offset;
  } kCases[] = {
      {"none", 17, "9c40003500080000", 17, 40},
      {"no next header", 59, "", 59, 40},
      {"hop-by-hop", 0, "06 00 0104 00000000", 6, 48},
      {"hop-by-hop of 16 bytes", 0, "06 01 010c 00000000 0000000000000000", 6, 56},
      {"destination options", 60, "3a 00 0104 00000000", 58, 48},
      {"routing type 4", 43, "11 00 04 00 00000000", 17, 48},
      {"atomic fragment", 44, "11 00 0000 00000001", 17, 48},
      {"authentication: length in 4-byte words", 51, "11 01 0000 00000001 00000001", 17, 52},
      {"mobility", 135, "3b 00 0000 00000000", 59, 48},
      {"host identity", 139, "3b 00 0000 00000000", 59, 48},
      {"shim6", 140, "11 00 0000 00000000", 17, 48},
      {"ESP ends the chain", 50, "0000000100000001", 50, 40},
      {"ESP behind options", 60, "32 00 0104 00000000 0000000100000001", 50, 48},
      {"unknown number ends it", 253, "0000", 253, 40},
      {"hop, destination, routing, fragment, destination", 0,
       "3c00010400000000 2b00010400000000 2c00040000000000 3c00000000000001 0600010400000000", 6,
       80},
  };
  for (const auto& c : kCases) {
    const auto packet = v6_packet(c.next, c.rest);
    const auto view = parse_ip_packet(packet);
    ASSERT_TRUE(view) << c.name;
    EXPECT_EQ(view->protocol, c.protocol) << c.name;
    EXPECT_EQ(view->transport_offset, c.offset) << c.name;
    EXPECT_EQ(view->fragment, Fragment::Whole) << c.name;
  }
}

// C10 of the fault list.
TEST(ParseIpPacket, bad_extension_chains_are_refused) {
  EXPECT_EQ(fault_of(v6_packet(0, "06")), PacketFault::ExtensionTruncated);
  EXPECT_EQ(fault_of(v6_packet(0, "06000104000000")), PacketFault::ExtensionTruncated);
  EXPECT_EQ(fault_of(v6_packet(0, "0601010400000000")), PacketFault::ExtensionTruncated);
  EXPECT_EQ(fault_of(v6_packet(60, "06ff010400000000")), PacketFault::ExtensionTruncated);
  EXPECT_EQ(fault_of(v6_packet(60, "0000010400000000 0600010400000000")),
            PacketFault::ExtensionMisplaced);
  EXPECT_EQ(fault_of(v6_packet(44, "2c00000000000001 0600000000000001")),
            PacketFault::ExtensionMisplaced);
}

// proves: Z4
TEST(ParseIpPacket, rfc5095_routing_header_type_0_is_refused) {
  EXPECT_EQ(fault_of(v6_packet(43, "1100000000000000")), PacketFault::RoutingHeaderType0);
  EXPECT_EQ(fault_of(v6_packet(43, "1100000100000000")), PacketFault::RoutingHeaderType0);
  EXPECT_EQ(fault_of(v6_packet(60, "2b00010400000000 1100000000000000")),
            PacketFault::RoutingHeaderType0);
}

TEST(ParseIpPacket, extension_headers_at_the_limit_and_past_it) {
  for (size_t count = 1; count <= 64; ++count) {
    std::string rest;
    for (size_t i = 0; i + 1 < count; ++i) rest += "3c00010400000000";
    rest += "1100010400000000 0000000000080000";
    const auto view = parse_ip_packet(v6_packet(60, rest));
    EXPECT_EQ(view.has_value(), count <= kExtensionHeadersMax) << count;
    if (!view) {
      EXPECT_EQ(view.error(), PacketFault::TooManyExtensions);
    }
  }
}

// A filter by protocol must not be fooled by what a later fragment seems to hold.
TEST(ParseIpPacket, ipv6_fragments) {
  const auto first = parse_ip_packet(v6_packet(44, "11 00 0001 00000001 9c40003500080000"));
  EXPECT_EQ(first->fragment, Fragment::First);
  EXPECT_EQ(first->protocol, 17);
  const auto later = parse_ip_packet(v6_packet(44, "11 00 0009 00000001 9c40003500080000"));
  EXPECT_EQ(later->fragment, Fragment::Later);
  EXPECT_EQ(later->protocol, 17);
  EXPECT_EQ(later->transport_offset, 48);
  const auto hidden = parse_ip_packet(v6_packet(44, "3c 00 0008 00000001 1100010400000000"));
  EXPECT_EQ(hidden->fragment, Fragment::Later);
  EXPECT_EQ(hidden->protocol, 60);  // not walked: those bytes are the middle of something
}

TEST(ParseIpPacket, bad_ipv6_lengths_are_refused) {
  auto packet = v6_packet(17, "9c40003500080000");
  packet[5] = 7;
  EXPECT_EQ(fault_of(packet), PacketFault::LengthTooShort);
  packet[5] = 9;
  EXPECT_EQ(fault_of(packet), PacketFault::LengthTooLong);
  packet[5] = 0;  // as a jumbogram has it
  EXPECT_EQ(fault_of(packet), PacketFault::LengthTooShort);
  EXPECT_EQ(fault_of(Bytes(packet).first(39)), PacketFault::Truncated);
}

TEST(ParseIpPacket, ipv6_size_at_the_limit_and_past_it) {
  auto packet = v6_packet(59, "");
  packet.resize(kPacketSizeMax);
  store_be16(packet.data() + 4, static_cast<uint16_t>(packet.size() - 40));
  EXPECT_TRUE(parse_ip_packet(packet));
  packet.push_back(0);
  store_be16(packet.data() + 4, static_cast<uint16_t>(packet.size() - 40));
  EXPECT_EQ(fault_of(packet), PacketFault::LengthTooLong);
}

// proves: K4
TEST(DecrementTtl, rfc9484_7_2_checksum_follows_vector) {
  auto packet = udp_packet();
  EXPECT_EQ(decrement_ttl(packet), TtlResult::Decremented);
  EXPECT_EQ(to_hex(packet),
            to_hex(hex("4500002000004000 3f11 4f87 c000020b c6336407 9c400035000c0000 61626364")));
}

// proves: K4
TEST(DecrementTtl, zero_and_one_expire_unchanged) {
  for (const uint8_t ttl : {uint8_t{0}, uint8_t{1}}) {
    auto v4 = udp_packet();
    v4[8] = ttl;
    const auto before = v4;
    EXPECT_EQ(decrement_ttl(v4), TtlResult::Expired);
    EXPECT_EQ(v4, before);
    auto v6 = v6_packet(59, "");
    v6[7] = ttl;
    EXPECT_EQ(decrement_ttl(v6), TtlResult::Expired);
    EXPECT_EQ(v6[7], ttl);
  }
  auto v6 = v6_packet(59, "");
  EXPECT_EQ(decrement_ttl(v6), TtlResult::Decremented);
  EXPECT_EQ(v6[7], 63);
}

TEST(DecrementTtl, property_checksum_stays_right) {
  EXPECT_TRUE(rc::check(
      [](uint32_t source, uint32_t destination, uint16_t id, uint8_t ttl, uint8_t protocol) {
        auto packet = udp_packet();
        store_be32(packet.data() + 12, source);
        store_be32(packet.data() + 16, destination);
        store_be16(packet.data() + 4, id);
        packet[8] = ttl;
        packet[9] = protocol;
        fix_v4(packet);
        const TtlResult result = decrement_ttl(packet);
        RC_ASSERT(result == (ttl > 1 ? TtlResult::Decremented : TtlResult::Expired));
        RC_ASSERT(internet_checksum(Bytes(packet).first(20)) == 0);
        if (ttl > 1) RC_ASSERT(packet[8] == ttl - 1);
      }));
}

TEST(PacketFault, each_has_its_own_text) {
  std::vector<std::string_view> texts;
  for (size_t i = 0; i < kPacketFaultCount; ++i)
    texts.push_back(to_string(static_cast<PacketFault>(i)));
  std::ranges::sort(texts);
  EXPECT_EQ(std::ranges::adjacent_find(texts), texts.end());
}

}  // namespace
}  // namespace masque
