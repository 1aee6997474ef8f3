// SPDX-License-Identifier: Apache-2.0
#include "core/capsule/capsule.h"

#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <algorithm>

#include "core/capsule/request_ids.h"

namespace masque {
namespace {

std::vector<uint8_t> hex(std::string_view text) { return from_hex(text).value(); }
IpAddress addr(std::string_view text) { return IpAddress::parse(text).value(); }
IpPrefix prefix(std::string_view text) { return IpPrefix::parse(text).value(); }

IpAddressRange range(std::string_view first, std::string_view last, uint8_t protocol = 0) {
  return {.range = {.first = addr(first), .last = addr(last)}, .protocol = protocol};
}

// The value of a whole capsule: what follows type and length.
std::vector<uint8_t> value_of(std::string_view capsule) {
  const auto bytes = hex(capsule);
  ByteReader in(bytes);
  EXPECT_TRUE(in.varint());
  const uint64_t length = in.varint().value();
  EXPECT_EQ(length, in.size());
  return {in.rest().begin(), in.rest().end()};
}

template <class Capsule>
std::string encoded(const Capsule& capsule) {
  ByteBuffer out;
  encode(capsule, out);
  return to_hex(out.view());
}

// proves: A1, A2, A3
TEST(AddressAssign, protocol_15_2_vectors) {
  const struct {
    std::string_view capsule;
    std::vector<AssignedAddress> addresses;
  } kCases[] = {
      {"01 1c 4539 04 01020300 18 453a 06 20010db8000000000000000000000001 80",
       {{RequestId(1337), prefix("1.2.3.0/24")}, {RequestId(1338), prefix("2001:db8::1/128")}}},
      {"01 1a 00 04 c000022a 1f 01 06 20010db8123456780000000000000000 40",
       {{RequestId(0), prefix("192.0.2.42/31")},
        {RequestId(1), prefix("2001:db8:1234:5678::/64")}}},
      {"01 07 01 04 c000020b 20", {{RequestId(1), prefix("192.0.2.11/32")}}},
      {"01 1a 01 04 c000020b 20 02 06 00000000000000000000000000000000 80",
       {{RequestId(1), prefix("192.0.2.11/32")}, {RequestId(2), prefix("::/128")}}},
      {"01 00", {}},
  };
  for (const auto& c : kCases) {
    const auto parsed = parse_address_assign(value_of(c.capsule));
    ASSERT_TRUE(parsed) << c.capsule;
    EXPECT_EQ(parsed->addresses, c.addresses) << c.capsule;
    EXPECT_EQ(encoded(*parsed), to_hex(hex(c.capsule)));
  }
}

// proves: R5
TEST(AddressAssign, rfc9484_4_7_2_denial_is_all_zero_with_maximum_length) {
  EXPECT_TRUE((AssignedAddress{RequestId(2), prefix("::/128")}).is_denial());
  EXPECT_TRUE((AssignedAddress{RequestId(2), prefix("0.0.0.0/32")}).is_denial());
  EXPECT_FALSE((AssignedAddress{RequestId(2), prefix("0.0.0.0/0")}).is_denial());
  EXPECT_FALSE((AssignedAddress{RequestId(2), prefix("::/64")}).is_denial());
  EXPECT_FALSE((AssignedAddress{RequestId(2), prefix("0.0.0.1/32")}).is_denial());
  EXPECT_EQ(encoded(AddressAssign{{AssignedAddress::denial(RequestId(2), IpVersion::V4)}}),
            "0107020400000000"
            "20");
}

// proves: A5, X1
TEST(AddressAssign, rfc9484_4_7_1_malformed_is_refused) {
  const struct {
    std::string_view value;
    WireError error;
  } kCases[] = {
      {"00 04 01020304 1c", WireError::HostBitsSet},
      {"00 06 20010db8000000000000000000000001 40", WireError::HostBitsSet},
      {"00 05 01020304 20", WireError::BadIpVersion},
      {"00 00 01020304 20", WireError::BadIpVersion},
      {"00 ff 01020304 20", WireError::BadIpVersion},
      {"00 04 01020304 21", WireError::BadPrefixLength},
      {"00 04 00000000 ff", WireError::BadPrefixLength},
      {"00 06 00000000000000000000000000000000 81", WireError::BadPrefixLength},
      {"00 04 01020304 20 ff",
       WireError::Truncated},  // a trailing byte: the varint of an entry, cut
      {"00 04 01020304 20 00", WireError::Truncated},
      {"40", WireError::Truncated},
      {"00 06 01020304 20", WireError::Truncated},
  };
  for (const auto& c : kCases) {
    const auto parsed = parse_address_assign(hex(c.value));
    ASSERT_FALSE(parsed) << c.value;
    EXPECT_EQ(parsed.error(), c.error) << c.value << to_string(parsed.error());
  }
}

// proves: X1
TEST(AddressAssign, every_truncation_is_refused) {
  const auto value =
      value_of("01 1c 4539 04 01020300 18 453a 06 20010db8000000000000000000000001 80");
  for (size_t n = 1; n < value.size(); ++n) {
    const auto parsed = parse_address_assign(Bytes(value).first(n));
    EXPECT_EQ(parsed.has_value(), n == 8) << n;  // 8 is exactly the first entry
  }
}

// proves: A1
TEST(AddressAssign, addresses_at_the_limit_and_past_it) {
  ByteBuffer value;
  for (size_t i = 0; i < kAssignedAddressesMax; ++i) value.bytes(hex("00 04 01020304 20"));
  EXPECT_EQ(parse_address_assign(value.view())->addresses.size(), kAssignedAddressesMax);
  value.bytes(hex("00 04 01020304 20"));
  EXPECT_EQ(parse_address_assign(value.view()).error(), WireError::TooMany);
}

// proves: R1, R2, R3
TEST(AddressRequest, protocol_15_2_vectors) {
  const std::string_view both = "02 1a 01 04 00000000 20 02 06 00000000000000000000000000000000 80";
  const auto parsed = parse_address_request(value_of(both)).value();
  EXPECT_EQ(parsed.addresses, (std::vector<RequestedAddress>{{RequestId(1), prefix("0.0.0.0/32")},
                                                             {RequestId(2), prefix("::/128")}}));
  EXPECT_TRUE(parsed.addresses[0].prefix.address().is_any());
  EXPECT_EQ(encoded(parsed), to_hex(hex(both)));
  EXPECT_TRUE(parse_address_request(value_of("02 07 01 04 00000000 20")));
  EXPECT_EQ(parse_address_request(hex("01 04 00000000 18"))->addresses[0].prefix.length(), 24);
}

// proves: R7
TEST(AddressRequest, rfc9484_4_7_2_empty_request_is_refused) {
  EXPECT_EQ(parse_address_request({}).error(), WireError::EmptyAddressRequest);
}

// proves: R1, X1
TEST(AddressRequest, rfc9484_4_7_2_request_id_zero_is_refused) {
  EXPECT_EQ(parse_address_request(hex("00 04 00000000 20")).error(), WireError::ZeroRequestId);
  EXPECT_EQ(parse_address_request(hex("4000 04 00000000 20")).error(), WireError::ZeroRequestId);
}

// proves: R1
TEST(AddressRequest, rfc9484_4_7_2_request_ids_are_never_reused) {
  EXPECT_EQ(parse_address_request(hex("01 04 00000000 20 01 04 00000000 20")).error(),
            WireError::ReusedRequestId);

  RequestIdHistory history;
  const auto request = [](uint64_t id) {
    return AddressRequest{{{RequestId(id), prefix("0.0.0.0/32")}}};
  };
  EXPECT_TRUE(history.on_request(request(5)));
  EXPECT_TRUE(history.on_request(request(3)));
  EXPECT_EQ(history.on_request(request(5)).error(), WireError::ReusedRequestId);

  RequestIdSource source;
  EXPECT_EQ(source.next(), RequestId(1));
  EXPECT_EQ(source.next(), RequestId(2));
}

TEST(AddressRequest, request_ids_at_the_limit_and_past_it) {
  RequestIdHistory history;
  for (uint64_t id = 1; id <= kRequestIdsMax; ++id) {
    ASSERT_TRUE(history.on_request({{{RequestId(id), prefix("0.0.0.0/32")}}}));
  }
  EXPECT_EQ(history.on_request({{{RequestId(9999), prefix("::/128")}}}).error(),
            WireError::TooMany);
}

TEST(AddressRequest, addresses_at_the_limit_and_past_it) {
  ByteBuffer value;
  for (uint64_t id = 1; id <= kRequestedAddressesMax + 1; ++id) {
    value.varint(id);
    value.bytes(hex("04 00000000 20"));
    EXPECT_EQ(parse_address_request(value.view()).has_value(), id <= kRequestedAddressesMax);
  }
  EXPECT_EQ(parse_address_request(value.view()).error(), WireError::TooMany);
}

// proves: R2, X1
TEST(AddressRequest, rfc9484_4_7_2_malformed_is_refused) {
  EXPECT_EQ(parse_address_request(hex("01 05 00000000 20")).error(), WireError::BadIpVersion);
  EXPECT_EQ(parse_address_request(hex("01 04 00000000 21")).error(), WireError::BadPrefixLength);
  EXPECT_EQ(parse_address_request(hex("01 04 0a000001 08")).error(), WireError::HostBitsSet);
  EXPECT_EQ(parse_address_request(hex("01 04 00000000")).error(), WireError::Truncated);
}

// proves: V1, V2, V3, V4, V5
TEST(RouteAdvertisement, protocol_15_2_vectors) {
  const std::string_view kAllV6 = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff";
  const struct {
    std::string_view capsule;
    std::vector<IpAddressRange> ranges;
  } kCases[] = {
      {"03 2c 04 c0000218 c000022a 00 06 00000000000000000000000000000000 "
       "ffffffffffffffffffffffffffffffff 01",
       {range("192.0.2.24", "192.0.2.42"), range("::", kAllV6, 1)}},
      {"03 2c 04 01010101 01020304 0d 06 20010db8000000000000000000000001 "
       "20010db8000000000000000000000100 25",
       {range("1.1.1.1", "1.2.3.4", 13), range("2001:db8::1", "2001:db8::100", 37)}},
      {"03 14 04 c0000200 c0000229 00 04 c000022b c00002ff 00",
       {range("192.0.2.0", "192.0.2.41"), range("192.0.2.43", "192.0.2.255")}},
      {"03 2c 04 00000000 ffffffff 00 06 00000000000000000000000000000000 "
       "ffffffffffffffffffffffffffffffff 00",
       {range("0.0.0.0", "255.255.255.255"), range("::", kAllV6)}},
      {"03 22 06 20010db834560000000000000000000b 20010db834560000000000000000000b 84",
       {range("2001:db8:3456::b", "2001:db8:3456::b", 132)}},
      {"03 00", {}},
  };
  for (const auto& c : kCases) {
    const auto parsed = parse_route_advertisement(value_of(c.capsule));
    ASSERT_TRUE(parsed) << c.capsule;
    EXPECT_EQ(parsed->ranges, c.ranges) << c.capsule;
    EXPECT_EQ(encoded(*parsed), to_hex(hex(c.capsule)));
  }
}

// proves: V3, V6, V7, X1
TEST(RouteAdvertisement, protocol_15_2_must_be_refused) {
  const struct {
    std::string_view capsule;
    WireError error;
  } kCases[] = {
      {"03 0a 04 c0000209 c0000201 00", WireError::BadAddressRange},
      {"03 14 04 c0000200 c000020a 00 04 c000020a c0000214 00", WireError::RouteOrder},
      {"03 2c 06 20010db8000000000000000000000000 20010db800000000000000000000000f 00 04 c0000200 "
       "c0000201 00",
       WireError::RouteOrder},
      {"03 14 04 c0000200 c0000201 11 04 c0000300 c0000301 06", WireError::RouteOrder},
      {"03 14 04 c0000300 c0000301 06 04 c0000200 c0000201 06", WireError::RouteOrder},
      {"03 14 04 c0000200 c00002ff 00 04 c0000207 c0000207 06", WireError::RouteOverlap},
      {"03 0b 04 c0000200 c0000201 00 ff", WireError::BadIpVersion},  // a trailing byte
      {"03 09 04 c0000200 c0000201", WireError::Truncated},
      {"03 0a 05 c0000200 c0000201 00", WireError::BadIpVersion},
      {"03 0a 06 c0000200 c0000201 00", WireError::Truncated},
  };
  for (const auto& c : kCases) {
    const auto parsed = parse_route_advertisement(value_of(c.capsule));
    ASSERT_FALSE(parsed) << c.capsule;
    EXPECT_EQ(parsed.error(), c.error) << c.capsule << to_string(parsed.error());
  }
}

// proves: V5
TEST(RouteAdvertisement, rfc9484_4_7_3_adjacent_ranges_and_one_range_for_several_protocols) {
  EXPECT_TRUE(
      check_routes(std::vector{range("10.0.0.0", "10.0.0.9"), range("10.0.0.10", "10.0.0.20")}));
  EXPECT_TRUE(check_routes(
      std::vector{range("10.0.0.0", "10.0.0.9", 6), range("10.0.0.0", "10.0.0.9", 17)}));
  EXPECT_TRUE(
      check_routes(std::vector{range("10.0.0.0", "10.0.0.9"), range("10.0.0.10", "10.0.0.20", 6)}));
}

// proves: V7
TEST(RouteAdvertisement, rfc9484_4_7_3_overlap_is_found_at_every_edge) {
  const auto overlap = [](const IpAddressRange& with) {
    const auto result = check_routes(
        std::vector{range("10.0.0.10", "10.0.0.19"), range("10.0.0.30", "10.0.0.39"), with});
    return !result && result.error() == WireError::RouteOverlap;
  };
  EXPECT_FALSE(overlap(range("10.0.0.0", "10.0.0.9", 6)));
  EXPECT_TRUE(overlap(range("10.0.0.0", "10.0.0.10", 6)));
  EXPECT_TRUE(overlap(range("10.0.0.19", "10.0.0.19", 6)));
  EXPECT_FALSE(overlap(range("10.0.0.20", "10.0.0.29", 6)));
  EXPECT_TRUE(overlap(range("10.0.0.20", "10.0.0.30", 6)));
  EXPECT_TRUE(overlap(range("10.0.0.0", "10.0.0.255", 6)));
  EXPECT_FALSE(overlap(range("10.0.0.40", "10.0.0.255", 6)));
  EXPECT_FALSE(overlap(range("::", "::ff", 6)));
}

TEST(RouteAdvertisement, ranges_at_the_limit_and_past_it) {
  ByteBuffer value;
  for (uint32_t i = 0; i < kAddressRangesMax; ++i) {
    value.u8(4);
    value.u32(i * 2);
    value.u32(i * 2);
    value.u8(0);
  }
  EXPECT_EQ(parse_route_advertisement(value.view())->ranges.size(), kAddressRangesMax);
  value.bytes(hex("04 0a000000 0a000000 00"));
  EXPECT_EQ(parse_route_advertisement(value.view()).error(), WireError::TooMany);
}

IpAddressRange random_range() {
  // A small space, so that ranges touch and overlap.
  const auto address = [](bool v6, uint32_t n) {
    std::array<uint8_t, 16> bytes{};
    bytes[15] = static_cast<uint8_t>(n);
    return v6 ? IpAddress::v6(bytes) : IpAddress::v4(n);
  };
  const bool v6 = *rc::gen::arbitrary<bool>();
  const uint32_t first = *rc::gen::inRange<uint32_t>(0, 40);
  const uint32_t last = first + *rc::gen::inRange<uint32_t>(0, 8);
  return {.range = {.first = address(v6, first), .last = address(v6, last)},
          .protocol = *rc::gen::element<uint8_t>(0, 6, 17)};
}

// proves: V5, V7
TEST(RouteAdvertisement, property_in_route_order_is_legal_and_covers_the_same) {
  EXPECT_TRUE(rc::check([] {
    std::vector<IpAddressRange> in(*rc::gen::inRange<size_t>(0, 12));
    for (IpAddressRange& entry : in) entry = random_range();
    const std::vector<IpAddressRange> out = in_route_order(in);
    RC_ASSERT(check_routes(out).has_value());
    const auto allows = [](const std::vector<IpAddressRange>& routes, const IpAddress& a,
                           uint8_t protocol) {
      return std::ranges::any_of(routes, [&](const IpAddressRange& r) {
        return r.range.version() == a.version() && r.range.contains(a) &&
               (r.protocol == 0 || r.protocol == protocol);
      });
    };
    for (uint32_t n = 0; n < 50; ++n) {
      std::array<uint8_t, 16> bytes{};
      bytes[15] = static_cast<uint8_t>(n);
      for (const uint8_t protocol : {uint8_t{6}, uint8_t{17}, uint8_t{99}}) {
        for (const IpAddress& a : {IpAddress::v4(n), IpAddress::v6(bytes)}) {
          RC_ASSERT(allows(in, a, protocol) == allows(out, a, protocol));
        }
      }
    }
    ByteBuffer buffer;
    encode(RouteAdvertisement{out}, buffer);
    ByteReader reader(buffer.view());
    RC_ASSERT(reader.varint().value() == 3);
    const uint64_t length = reader.varint().value();
    RC_ASSERT(length == reader.size());
    RC_ASSERT(parse_route_advertisement(reader.rest())->ranges == out);
  }));
}

TEST(AddressAssign, property_encode_and_parse_round_trip) {
  EXPECT_TRUE(
      rc::check([](const std::vector<std::tuple<uint64_t, uint32_t, uint8_t, bool>>& seeds) {
        AddressAssign assign;
        AddressRequest request;
        for (const auto& [id, number, length, v6] : seeds) {
          std::array<uint8_t, 16> bytes{};
          store_be32(bytes.data() + length % 13, number);
          const IpAddress address = v6 ? IpAddress::v6(bytes) : IpAddress::v4(number);
          const IpPrefix p = IpPrefix::containing(
              address, static_cast<uint8_t>(length % (address_bits(address.version()) + 1)));
          if (assign.addresses.size() == kAssignedAddressesMax) break;
          assign.addresses.push_back({RequestId(id % RequestId::kMax), p});
          request.addresses.push_back({RequestId(request.addresses.size() + 1), p});
        }
        ByteBuffer out;
        encode(assign, out);
        ByteReader in(out.view());
        RC_ASSERT(in.varint().value() == 1);
        const uint64_t size = in.varint().value();
        RC_ASSERT(size == in.size());
        RC_ASSERT(parse_address_assign(in.rest()).value() == assign);
        if (request.addresses.empty()) return;
        ByteBuffer out2;
        encode(request, out2);
        ByteReader in2(out2.view());
        RC_ASSERT(in2.varint().value() == 2);
        const uint64_t size2 = in2.varint().value();
        RC_ASSERT(size2 == in2.size());
        RC_ASSERT(parse_address_request(in2.rest()).value() == request);
      }));
}

// proves: H20
TEST(DatagramCapsule, protocol_15_3_vector) {
  const auto packet = hex("45000020000040004011 4e87 c000020b c6336407 9c400035000c0000 61626364");
  ByteBuffer out;
  encode_datagram_capsule(packet, out);
  EXPECT_EQ(to_hex(out.view()), "002100" + to_hex(packet));
}

TEST(CapsuleType, grease_is_recognised) {
  EXPECT_TRUE(capsule_type::is_grease(CapsuleType(0x17)));
  EXPECT_TRUE(capsule_type::is_grease(CapsuleType(0x40)));
  EXPECT_FALSE(capsule_type::is_grease(CapsuleType(0x16)));
  EXPECT_FALSE(capsule_type::is_grease(CapsuleType(0x00)));
}

}  // namespace
}  // namespace masque
