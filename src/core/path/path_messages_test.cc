// SPDX-License-Identifier: Apache-2.0
#include "core/path/path_messages.h"

#include <gtest/gtest.h>
#include <rapidcheck.h>

#include "core/path/path_offer.h"
#include "core/path/path_packet.h"

namespace masque {
namespace {

PathReport example() {
  PathReport report{.number = 5,
                    .received_bytes = 15'293,
                    .highest = 42,
                    .clock_us = 1'234'567'890,
                    .echo_stamp = 0x6789a,
                    .echo_delay_us = 250,
                    .delay_min = 0x100,
                    .delay_max = 0x4e2,
                    .congestion_marks = 3};
  report.classes[0] = {.settled = 40, .lost = 2, .loss_events = 1, .recovered = 2, .abandoned = 0};
  report.classes[1] = {
      .settled = 1000, .lost = 20, .loss_events = 15, .recovered = 19, .abandoned = 1};
  return report;
}

std::vector<uint8_t> written(const PathMessage& message) {
  std::vector<uint8_t> out(kPathMessageMax);
  out.resize(write_path_message(message, out));
  return out;
}

PathRequest request_of(const std::vector<uint64_t>& sequences) {
  PathRequest request{.number = 7};
  for (const uint64_t sequence : sequences) request.sequences[request.count++] = sequence;
  return request;
}

// The vectors of docs/wire.md.
TEST(PathMessage, is_written_as_documented) {
  EXPECT_EQ(to_hex(written(example())),
            "01057bbd2ac0000000499602d28006789a40fa410044e203280201020043e8140f1301");
  EXPECT_EQ(to_hex(written(request_of({10, 11, 1000}))), "02070a0143dd");
}

TEST(PathMessage, a_report_is_read_as_it_was_written) {
  EXPECT_TRUE(rc::check([] {
    const auto any = [](uint64_t end) { return *rc::gen::inRange<uint64_t>(0, end); };
    PathReport report = example();
    report.number = any(kVarintMax);
    report.received_bytes = any(kVarintMax);
    report.clock_us = any(uint64_t{1} << 50);
    report.echo_stamp = static_cast<uint32_t>(any(PathStamp::kModulus));
    report.echo_delay_us = any(kVarintMax);
    report.delay_min = static_cast<uint32_t>(any(PathStamp::kModulus));
    report.classes[1].settled = any(kVarintMax);
    report.classes[1].lost = any(report.classes[1].settled + 1);
    const auto read = read_path_message(written(report));
    RC_ASSERT(read.has_value());
    RC_ASSERT(std::get<PathReport>(*read) == report);
  }));
}

TEST(PathMessage, a_request_is_read_as_it_was_written) {
  EXPECT_TRUE(rc::check([] {
    PathRequest request{.number = *rc::gen::inRange<uint64_t>(0, kVarintMax)};
    uint64_t at = *rc::gen::inRange<uint64_t>(0, uint64_t{1} << 40);
    const size_t count = *rc::gen::inRange<size_t>(0, PathRequest::kSequencesMax + 1);
    while (request.count < count) {
      request.sequences[request.count++] = at;
      at += *rc::gen::inRange<uint64_t>(1, 2000);
    }
    const auto read = read_path_message(written(request));
    RC_ASSERT(read.has_value());
    RC_ASSERT(std::get<PathRequest>(*read) == request);
  }));
}

TEST(PathMessage, the_largest_ones_fit) {
  PathReport report = example();
  for (uint64_t* field : {&report.number, &report.received_bytes, &report.highest,
                          &report.echo_delay_us, &report.congestion_marks}) {
    *field = kVarintMax;
  }
  for (auto& its : report.classes)
    its = {kVarintMax, kVarintMax, kVarintMax, kVarintMax, kVarintMax};
  EXPECT_GT(written(report).size(), 100u);
  PathRequest request{.number = kVarintMax};
  while (request.count < PathRequest::kSequencesMax) {
    request.sequences[request.count] = (uint64_t{1} << 40) * (request.count + 1);
    ++request.count;
  }
  EXPECT_EQ(written(request).size(), 1 + 8 + 8 * PathRequest::kSequencesMax);
}

TEST(PathMessage, every_truncation_of_a_report_is_refused) {
  const auto whole = written(example());
  for (size_t size = 0; size < whole.size(); ++size)
    EXPECT_FALSE(read_path_message(Bytes(whole).first(size))) << size;
}

TEST(PathMessage, a_request_of_too_many_or_out_of_order_is_refused) {
  std::vector<uint8_t> in(2 + PathRequest::kSequencesMax, 1);
  in[0] = 2;
  EXPECT_TRUE(read_path_message(in));
  in.push_back(1);
  EXPECT_FALSE(read_path_message(in));
  EXPECT_FALSE(read_path_message(*from_hex("02 01 05 00")));
  EXPECT_TRUE(read_path_message(*from_hex("02 01 00")));
  EXPECT_TRUE(read_path_message(*from_hex("02 01")));
  EXPECT_FALSE(read_path_message(*from_hex("02 01 40")));
  EXPECT_FALSE(read_path_message(*from_hex("02")));
}

TEST(PathMessage, values_that_cannot_be_are_refused) {
  PathReport report = example();
  report.echo_stamp = PathStamp::kModulus;
  EXPECT_FALSE(read_path_message(written(report)));
  report = example();
  report.delay_max = PathStamp::kModulus;
  EXPECT_FALSE(read_path_message(written(report)));
  report = example();
  report.classes[0].lost = report.classes[0].settled + 1;
  EXPECT_FALSE(read_path_message(written(report)));
}

// In nanoseconds it would not fit 64 bits.
TEST(PathMessage, a_clock_beyond_all_time_is_refused) {
  PathReport report = example();
  report.clock_us = PathReport::kClockMax;
  EXPECT_TRUE(read_path_message(written(report)));
  ++report.clock_us;
  EXPECT_FALSE(read_path_message(written(report)));
}

TEST(PathMessage, other_types_are_for_later_versions) {
  EXPECT_FALSE(read_path_message({}));
  EXPECT_FALSE(read_path_message(*from_hex("00")));
  EXPECT_FALSE(read_path_message(*from_hex("03 01 02")));
}

TEST(PathMessage, any_bytes_are_read_or_refused) {
  EXPECT_TRUE(rc::check([](std::vector<uint8_t> bytes) {
    if (!bytes.empty()) bytes[0] = static_cast<uint8_t>(1 + bytes[0] % 2);
    if (const auto message = read_path_message(bytes)) {
      RC_ASSERT(read_path_message(written(*message)) == message);
    }
  }));
}

TEST(PathOffer, is_written_as_documented) {
  EXPECT_EQ(PathOffer{}.to_field(), "1;codes=\"sliding-window reed-solomon xor\"");
  EXPECT_EQ((PathOffer{.reads_xor = false, .reads_reed_solomon = false}).to_field(),
            "1;codes=\"sliding-window\"");
}

TEST(PathOffer, is_read_as_it_was_written) {
  for (unsigned bits = 0; bits < 8; ++bits) {
    const PathOffer offer{.reads_xor = (bits & 1) != 0,
                          .reads_reed_solomon = (bits & 2) != 0,
                          .reads_sliding_window = (bits & 4) != 0};
    EXPECT_EQ(PathOffer::parse(offer.to_field()), offer) << bits;
  }
}

TEST(PathOffer, later_versions_may_add_parameters_and_codes) {
  const auto offer = PathOffer::parse("1; new=\"x y\"; codes=\"raptor xor\"");
  ASSERT_TRUE(offer);
  EXPECT_TRUE(offer->reads(ErasureCode::Xor));
  EXPECT_FALSE(offer->reads(ErasureCode::SlidingWindow));
}

TEST(PathOffer, anything_else_is_no_offer) {
  for (const auto field : {"", "2;codes=\"xor\"", "10", "1;", "1;codes", "1;codes=xor",
                           "1;codes=\"xor", "1 ", "1;codes=\"xor\"x", ";codes=\"xor\""}) {
    EXPECT_FALSE(PathOffer::parse(field)) << field;
  }
  EXPECT_FALSE(PathOffer::parse("1;x=\"" + std::string(600, 'a') + "\""));
  const std::string whole = PathOffer{}.to_field();
  for (size_t size = 2; size < whole.size(); ++size)
    EXPECT_FALSE(PathOffer::parse(std::string_view(whole).substr(0, size))) << size;
}

}  // namespace
}  // namespace masque
