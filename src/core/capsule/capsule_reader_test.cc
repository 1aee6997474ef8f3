// SPDX-License-Identifier: Apache-2.0
#include "core/capsule/capsule_reader.h"

#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <format>

namespace masque {
namespace {

std::vector<uint8_t> hex(std::string_view text) { return from_hex(text).value(); }

// Writes events down as text, so that whole runs compare.
class Recorder final : public CapsuleVisitor {
 public:
  Result<void> on_address_assign(const AddressAssign& capsule) override {
    std::string line = "assign";
    for (const auto& a : capsule.addresses)
      line += std::format(" {}={}", a.request_id.value(), a.prefix.to_string());
    events.push_back(line);
    return answer;
  }
  Result<void> on_address_request(const AddressRequest& capsule) override {
    std::string line = "request";
    for (const auto& a : capsule.addresses)
      line += std::format(" {}={}", a.request_id.value(), a.prefix.to_string());
    events.push_back(line);
    return answer;
  }
  Result<void> on_route_advertisement(const RouteAdvertisement& capsule) override {
    events.push_back(std::format("routes {}", capsule.ranges.size()));
    return answer;
  }
  void on_datagram_capsule(Bytes payload) override {
    events.push_back("datagram " +
                     (payload.size() > 64 ? std::to_string(payload.size()) : to_hex(payload)));
  }
  void on_unknown_capsule(CapsuleType type, uint64_t length) override {
    events.push_back(std::format("unknown {:x} {}", type.value(), length));
  }

  std::vector<std::string> events;
  Result<void> answer;
};

using Events = std::vector<std::string>;

struct StreamRun {
  Events events;
  std::string result;  // "ok" or the error
};

StreamRun read(Bytes stream, const std::vector<size_t>& pieces = {}) {
  Recorder recorder;
  CapsuleReader reader(recorder);
  Result<void> result;
  size_t i = 0;
  while (!stream.empty() && result) {
    const size_t n =
        pieces.empty() ? stream.size()
                       : std::min(stream.size(), std::max<size_t>(1, pieces[i++ % pieces.size()]));
    result = reader.on_bytes(stream.first(n));
    stream = stream.subspan(n);
  }
  if (result) result = reader.on_fin();
  return {recorder.events, result ? "ok" : std::string(to_string(result.error()))};
}

std::string cat(std::initializer_list<std::string_view> parts) {
  std::string out;
  for (const auto part : parts) out += std::string(part) + " ";
  return out;
}

constexpr std::string_view kAssign =
    "01 1c 4539 04 01020300 18 453a 06 20010db8000000000000000000000001 80";
constexpr std::string_view kRequest = "02 07 01 04 00000000 20";
constexpr std::string_view kRoutes = "03 14 04 c0000200 c0000229 00 04 c000022b c00002ff 00";
constexpr std::string_view kDatagram = "00 08 a1a2a3a4a5a6a7a8";
constexpr std::string_view kGrease = "17 03 aabbcc";
constexpr std::string_view kEmptyGrease = "4040 00";
constexpr std::string_view kDnsAssign =
    "9ace79ec 4056 01 0001 01 c0000221 01 20010db8000000000000000000000001 00 00 01 15 "
    "696e7465726e616c2e636f72702e6578616d706c65 02 15 696e7465726e616c2e636f72702e6578616d706c65 "
    "0c "
    "636f72702e6578616d706c65";
constexpr std::string_view kPref64 = "a74c0fbc 0d 60 0064ff9b0000000000000000";

std::vector<uint8_t> all_kinds() {
  return hex(cat({kAssign, kGrease, kRequest, kDatagram, kEmptyGrease, kRoutes, kDnsAssign, "01 00",
                  kPref64, "00 00"}));
}
const Events kAllEvents = {"assign 1337=1.2.3.0/24 1338=2001:db8::1/128",
                           "unknown 17 3",
                           "request 1=0.0.0.0/32",
                           "datagram a1a2a3a4a5a6a7a8",
                           "unknown 40 0",
                           "routes 2",
                           "unknown 1ace79ec 86",
                           "assign",
                           "unknown 274c0fbc 13",
                           "datagram "};

// proves: H13, H20, L4
TEST(CapsuleReader, protocol_15_2_vectors_in_one_piece) {
  const StreamRun run = read(all_kinds());
  EXPECT_EQ(run.events, kAllEvents);
  EXPECT_EQ(run.result, "ok");
}

// proves: H12, H17
TEST(CapsuleReader, rfc9297_3_1_byte_by_byte_and_every_two_pieces) {
  const auto stream = all_kinds();
  EXPECT_EQ(read(stream, {1}).events, kAllEvents);
  for (size_t cut = 1; cut < stream.size(); ++cut) {
    const StreamRun run = read(stream, {cut, stream.size()});
    EXPECT_EQ(run.events, kAllEvents) << cut;
    EXPECT_EQ(run.result, "ok");
  }
}

// proves: H12
TEST(CapsuleReader, property_any_fragmentation_gives_the_same_events) {
  EXPECT_TRUE(rc::check([](const std::vector<uint8_t>& noise, const std::vector<uint8_t>& sizes) {
    auto stream = all_kinds();
    // Sometimes something wrong or random follows: errors must not depend on fragmentation either.
    stream.insert(stream.end(), noise.begin(), noise.end());
    const StreamRun whole = read(stream);
    const StreamRun pieces = read(stream, std::vector<size_t>(sizes.begin(), sizes.end()));
    RC_ASSERT(whole.events == pieces.events);
    RC_ASSERT(whole.result == pieces.result);
  }));
}

// proves: H13, X7
TEST(CapsuleReader, rfc9297_3_2_unknown_types_are_skipped_in_constant_memory) {
  Recorder recorder;
  CapsuleReader reader(recorder);
  ASSERT_TRUE(reader.on_bytes(hex("8000abcd ffffffffffffffff")));  // 2^62-1 bytes
  const std::vector<uint8_t> chunk(100'000, 0x01);
  for (int i = 0; i < 100; ++i) {
    ASSERT_TRUE(reader.on_bytes(chunk));
    EXPECT_EQ(reader.buffered(), 0u);
  }
  EXPECT_EQ(recorder.events.size(), 1u);
  EXPECT_EQ(reader.counters().unknown, 1u);
}

// proves: VI1
TEST(CapsuleReader, rfc9000_16_non_minimal_varints_are_accepted) {
  EXPECT_EQ(read(hex("4001 4000")).events, Events{"assign"});
  EXPECT_EQ(read(hex("c000000000000001 80000008 4001 04 c000020b 20")).events,
            Events{"assign 1=192.0.2.11/32"});
  EXPECT_EQ(read(hex("80000000 4001 00")).events, Events{"datagram 00"});
}

// proves: A3, A5, R7, V6, V7, X1, H18
TEST(CapsuleReader, protocol_15_2_must_be_refused) {
  const struct {
    std::string_view capsule, error;
  } kCases[] = {
      {"01 07 00 04 01020304 1c", "host bits set"},
      {"01 07 00 05 01020304 20", "bad IP version"},
      {"01 07 00 04 01020304 21", "bad prefix length"},
      {"01 08 00 04 01020304 20 ff", "truncated"},
      {"02 00", "empty address request"},
      {"02 07 00 04 00000000 20", "request id 0"},
      {"03 0a 04 c0000209 c0000201 00", "range start after its end"},
      {"03 14 04 c0000200 c000020a 00 04 c000020a c0000214 00", "routes out of order"},
      {"03 2c 06 20010db8000000000000000000000000 20010db800000000000000000000000f 00 04 c0000200 "
       "c0000201 00",
       "routes out of order"},
      {"03 14 04 c0000200 c0000201 11 04 c0000300 c0000301 06", "routes out of order"},
      {"03 14 04 c0000200 c00002ff 00 04 c0000207 c0000207 06", "routes overlap"},
  };
  for (const auto& c : kCases) {
    const auto stream = hex(cat({kGrease, c.capsule, kRequest}));
    const StreamRun run = read(stream);
    EXPECT_EQ(run.result, c.error) << c.capsule;
    EXPECT_EQ(run.events.size(), 1u) << "nothing after the fault";
    EXPECT_EQ(read(stream, {1}).result, c.error) << c.capsule;
  }
}

// proves: H18, X4
TEST(CapsuleReader, rfc9297_3_3_fin_inside_a_capsule_is_refused) {
  for (const std::string_view capsule :
       {kAssign, kRequest, kRoutes, kDatagram, kGrease, kDnsAssign}) {
    const auto stream = hex(capsule);
    for (size_t n = 0; n <= stream.size(); ++n) {
      EXPECT_EQ(read(Bytes(stream).first(n)).result,
                n == 0 || n == stream.size() ? "ok" : "truncated")
          << n;
    }
  }
}

// proves: H22
TEST(CapsuleReader, rfc9297_3_5_datagram_at_the_limit_and_past_it) {
  for (const size_t size : {kDatagramCapsuleMax, kDatagramCapsuleMax + 1, size_t{200'000}}) {
    ByteBuffer stream;
    stream.varint(0);
    stream.varint(size);
    stream.bytes(std::vector<uint8_t>(size));
    stream.bytes(hex(kRequest));
    const Events expected = size <= kDatagramCapsuleMax
                                ? Events{"datagram " + std::to_string(size), "request 1=0.0.0.0/32"}
                                : Events{"request 1=0.0.0.0/32"};
    EXPECT_EQ(read(stream.view()).events, expected);
    EXPECT_EQ(read(stream.view(), {1000}).events, expected);
  }
  Recorder recorder;
  CapsuleReader reader(recorder);
  ASSERT_TRUE(reader.on_bytes(hex("00 ffffffffffffffff")));
  ASSERT_TRUE(reader.on_bytes(std::vector<uint8_t>(200'000)));
  EXPECT_EQ(reader.buffered(), 0u);
  EXPECT_EQ(reader.counters().oversize_datagrams, 1u);
}

TEST(CapsuleReader, known_capsules_at_the_limit_and_past_it) {
  const struct {
    uint64_t type;
    size_t size_max;
  } kCases[] = {{1, kAddressCapsuleMax}, {2, kAddressCapsuleMax}, {3, kRouteCapsuleMax}};
  for (const auto& c : kCases) {
    for (const size_t size : {c.size_max, c.size_max + 1, size_t{kVarintMax}}) {
      Recorder recorder;
      CapsuleReader reader(recorder);
      ByteBuffer header;
      header.varint(c.type);
      header.varint(size);
      const auto result = reader.on_bytes(header.view());
      EXPECT_EQ(result.has_value(), size <= c.size_max) << c.type;
      if (!result) {
        EXPECT_EQ(result.error(), WireError::TooLong);
      }
    }
  }
}

// proves: V2
TEST(CapsuleReader, rfc9484_4_7_3_the_longest_list_of_ranges_fits_a_capsule) {
  RouteAdvertisement capsule;
  for (size_t i = 0; i < kAddressRangesMax; ++i) {
    std::array<uint8_t, 16> address{0xfd};
    store_be16(&address[14], static_cast<uint16_t>(2 * i));
    const IpAddress host = IpAddress::v6(address);
    capsule.ranges.push_back({.range = {.first = host, .last = host}});
  }
  ByteBuffer stream;
  encode(capsule, stream);
  const Events expected = {"routes " + std::to_string(kAddressRangesMax)};
  EXPECT_EQ(read(stream.view()).events, expected);
  EXPECT_EQ(read(stream.view(), {1200}).events, expected);
}

// D2 of the fault list: what is announced is not reserved; what arrives is bounded.
TEST(CapsuleReader, memory_follows_what_arrived) {
  Recorder recorder;
  CapsuleReader reader(recorder);
  ByteBuffer header;
  header.varint(3);
  header.varint(kRouteCapsuleMax);
  ASSERT_TRUE(reader.on_bytes(header.view()));
  EXPECT_EQ(reader.buffered(), 0u);
  for (size_t i = 1; i < kRouteCapsuleMax; ++i) {
    ASSERT_TRUE(reader.on_bytes(Bytes(hex("00"))));
    ASSERT_EQ(reader.buffered(), i);
  }
  EXPECT_EQ(reader.on_bytes(Bytes(hex("00"))).error(), WireError::BadIpVersion);
  EXPECT_EQ(reader.buffered(), 0u);
}

TEST(CapsuleReader, stays_failed) {
  Recorder recorder;
  CapsuleReader reader(recorder);
  EXPECT_EQ(reader.on_bytes(hex("02 00")).error(), WireError::EmptyAddressRequest);
  EXPECT_EQ(reader.on_bytes(hex(kAssign)).error(), WireError::EmptyAddressRequest);
  EXPECT_EQ(reader.on_fin().error(), WireError::EmptyAddressRequest);
  EXPECT_TRUE(recorder.events.empty());
}

TEST(CapsuleReader, visitor_refuses) {
  Recorder recorder;
  recorder.answer = std::unexpected(WireError::ReusedRequestId);
  CapsuleReader reader(recorder);
  EXPECT_EQ(reader.on_bytes(hex(cat({kDatagram, kRequest, kAssign}))).error(),
            WireError::ReusedRequestId);
  EXPECT_EQ(recorder.events.size(), 2u);
}

}  // namespace
}  // namespace masque
