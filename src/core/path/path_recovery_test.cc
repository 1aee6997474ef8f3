// SPDX-License-Identifier: Apache-2.0
// Sender and receiver together: what the codes bring back, and what hostile repairs and messages
// can do.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/rng.h"
#include "core/path/path_test_support.h"

namespace masque {
namespace {

using testing::Packet;
using testing::PathPair;

PathSettings with(ErasureCode code) { return {.mode = ResilienceMode::Auto, .code = code}; }

class EveryCode : public ::testing::TestWithParam<ErasureCode> {};
INSTANTIATE_TEST_SUITE_P(Codes, EveryCode,
                         ::testing::Values(ErasureCode::SlidingWindow, ErasureCode::ReedSolomon,
                                           ErasureCode::Xor),
                         [](const auto& param) {
                           std::string name(to_string(param.param));
                           std::ranges::replace(name, '-', '_');
                           return name;
                         });

TEST_P(EveryCode, brings_back_one_of_sixteen_in_order) {
  for (size_t lost = 0; lost < 16; ++lost) {
    PathPair p(with(GetParam()));
    p.sender.set_shares({.bulk = 0.25, .bulk_window = 16});
    for (size_t i = 0; i < 64; ++i) {
      const Packet packet = p.wrap(TrafficClass::Bulk, 60 + 20 * i);
      if (i % 16 != lost) p.arrive(packet);
      p.arrive_all(p.repairs());
      p.advance(1ms);
    }
    p.advance(20ms);
    p.arrive_all(p.repairs());
    EXPECT_EQ(p.delivered.size(), 64u) << lost;
    EXPECT_TRUE(std::ranges::is_sorted(p.delivered));
    EXPECT_EQ(p.changed_ones.size(), 0u);
    EXPECT_EQ(p.receiver.counters().recovered, 4u);
    EXPECT_EQ(p.receiver.counters().abandoned, 0u);
  }
}

TEST_P(EveryCode, the_tail_is_covered_too) {
  PathPair p(with(GetParam()));
  p.sender.set_shares({.bulk = 0.02});
  p.arrive(p.wrap());
  p.wrap();  // lost, and nothing follows
  ASSERT_TRUE(p.sender.next_timeout());
  p.now = *p.sender.next_timeout();
  p.arrive_all(p.repairs());
  EXPECT_THAT(p.delivered, ::testing::ElementsAre(0, 1));
}

TEST(PathRecovery, a_call_survives_every_burst_of_two) {
  for (size_t lost = 1; lost < 18; ++lost) {
    PathPair p;
    p.sender.set_shares({.realtime = 1});
    for (size_t i = 0; i < 20; ++i) {
      const Packet packet = p.wrap(TrafficClass::RealTime);
      if (i != lost && i != lost + 1) p.arrive(packet);
      for (int ms = 0; ms < 20; ++ms) {
        p.advance(1ms);
        // The repairs between the two go down with them.
        const auto repairs = p.repairs();
        if (i != lost) p.arrive_all(repairs);
      }
    }
    EXPECT_EQ(p.delivered.size(), 20u) << lost;
    EXPECT_EQ(p.changed_ones.size(), 0u);
  }
}

TEST(PathRecovery, without_shares_there_is_no_repair) {
  PathPair p;
  for (int i = 0; i < 1000; ++i) {
    p.wrap();
    p.now += 1ms;
    EXPECT_TRUE(p.repairs().empty());
  }
  EXPECT_EQ(p.sender.next_timeout(), std::nullopt);
}

TEST(PathRecovery, two_percent_of_loss_costs_a_tenth_and_is_gone) {
  PathPair p;
  SeededRng rng(7);
  p.sender.set_shares({.bulk = 0.1, .bulk_window = 128});
  constexpr uint64_t kSent = 20'000;
  size_t repairs = 0;
  for (uint64_t i = 0; i < kSent; ++i) {
    const Packet packet = p.wrap(TrafficClass::Bulk, 300);
    if (rng.below(100) >= 2) p.arrive(packet);
    for (const Packet& repair : p.repairs()) {
      ++repairs;
      if (rng.below(100) >= 2) p.arrive(repair);
    }
    if (i % 4 == 3) p.advance(1ms);
  }
  p.advance(200ms);
  p.arrive_all(p.repairs());
  EXPECT_LE(repairs, kSent / 10 + 1);
  EXPECT_GE(p.delivered.size(), kSent - kSent / 5000);  // 0.02 %
  EXPECT_EQ(p.changed_ones.size(), 0u);
}

// Of packets 0, 1, ... all but the first and the last of `count` + 2 are lost.
void lose(PathPair& p, size_t count, Duration rtt) {
  p.receiver.set_rtt(rtt);
  p.sender.set_shares({.bulk = 0.01});
  p.arrive(p.wrap());
  for (size_t i = 0; i < count; ++i) p.wrap();
  p.arrive(p.wrap());
}
void answer(PathPair& p, uint64_t sequence) {
  Packet room(1500);
  room.resize(p.sender.resend(p.now, sequence, room));
  p.arrive(room);
}

TEST(PathRecovery, asks_again_and_gets_the_same_packet) {
  PathPair p;
  lose(p, 1, 20ms);
  const auto at = p.receiver.next_request(p.now);
  ASSERT_TRUE(at);
  p.now = *at;
  const auto request = p.receiver.make_request(p.now);
  ASSERT_TRUE(request);
  ASSERT_EQ(request->count, 1u);
  EXPECT_EQ(request->sequences[0], 1u);
  EXPECT_EQ(p.receiver.make_request(p.now), std::nullopt);  // once is enough
  answer(p, 1);
  EXPECT_THAT(p.delivered, ::testing::ElementsAre(0, 1, 2));
  EXPECT_EQ(p.changed_ones.size(), 0u);
  Packet room(1500);
  EXPECT_EQ(p.sender.resend(p.now, 1000, room), 0u);
}

// A long round trip: the order does not wait for it. Late is better than never, QUIC takes back
// that the packet was lost.
TEST(PathRecovery, asks_for_what_was_passed_over_and_does_not_wait_for_it) {
  PathPair p;
  lose(p, 1, 300ms);
  EXPECT_EQ(p.receiver.next_request(p.now), std::nullopt);  // it may be on its way
  p.advance(60ms);
  EXPECT_THAT(p.delivered, ::testing::ElementsAre(0, 2));
  const auto request = p.receiver.make_request(p.now);
  ASSERT_TRUE(request);
  ASSERT_EQ(request->count, 1u);
  EXPECT_EQ(request->sequences[0], 1u);
  EXPECT_EQ(p.receiver.make_request(p.now), std::nullopt);
  p.advance(150ms);
  const Duration spread = p.receiver.delay_spread(p.now);
  answer(p, 1);
  EXPECT_THAT(p.delivered, ::testing::ElementsAre(0, 2, 1));
  EXPECT_EQ(p.receiver.delay_spread(p.now), spread);  // its age says nothing of the link
  p.advance(200ms);
  EXPECT_EQ(p.receiver.figures().classes[0].lost, 1u);  // the code has to know of it
}

// Requests and answers are lost like everything else.
TEST(PathRecovery, asks_three_times_at_most) {
  PathPair p;
  lose(p, 2, 100ms);
  std::vector<Instant> asked;
  for (int i = 0; i < 1000; ++i) {
    p.arrive(p.wrap());
    p.advance(1ms);
    const auto request = p.receiver.make_request(p.now);
    if (!request) continue;
    asked.push_back(p.now);
    EXPECT_THAT(std::span(request->sequences).first(request->count), ::testing::ElementsAre(1, 2));
  }
  ASSERT_EQ(asked.size(), 3u);
  EXPECT_GE(asked[1] - asked[0], 125ms);
  EXPECT_GE(asked[2] - asked[1], 125ms);
  EXPECT_LE(asked[2] - asked[0], 400ms);
}

TEST(PathRecovery, what_has_come_is_not_asked_for_again) {
  PathPair p;
  lose(p, 2, 100ms);
  p.advance(60ms);
  ASSERT_TRUE(p.receiver.make_request(p.now));
  answer(p, 1);
  p.advance(150ms);
  const auto request = p.receiver.make_request(p.now);
  ASSERT_TRUE(request);
  EXPECT_THAT(std::span(request->sequences).first(request->count), ::testing::ElementsAre(2));
}

// QUIC would take the acknowledgement of a packet from before an outage for a round trip as long.
TEST(PathRecovery, what_was_sent_before_an_outage_is_not_brought_back) {
  PathPair p;
  p.sender.set_shares({.bulk = 1});
  p.arrive(p.wrap());
  p.wrap();
  p.repairs();  // lost as well
  p.advance(17s);
  p.arrive(p.wrap());
  const auto repairs = p.repairs();
  EXPECT_FALSE(repairs.empty());
  p.arrive_all(repairs);
  p.advance(200ms);
  EXPECT_THAT(p.delivered, ::testing::ElementsAre(0, 2));
  Packet room(1500);
  EXPECT_EQ(p.sender.resend(p.now, 1, room), 0u);
  EXPECT_GT(p.sender.resend(p.now, 2, room), 0u);
}

// What overflows a queue is far more than a link loses: sending it again would make it worse.
TEST(PathRecovery, asks_for_a_few_percent_at_most) {
  PathPair p;
  p.receiver.set_rtt(150ms);
  p.sender.set_shares({.bulk = 0.01, .bulk_window = 255});
  size_t asked = 0;
  for (int i = 0; i < 2000; ++i) {
    const Packet packet = p.wrap();
    if (i % 2 == 0) p.arrive(packet);
    p.advance(1ms);
    if (const auto request = p.receiver.make_request(p.now)) asked += request->count;
  }
  EXPECT_GT(asked, 20u);
  EXPECT_LE(asked, 50u);
}

TEST(PathRecovery, finds_every_packet_that_is_kept) {
  PathPair p;
  p.sender.set_shares({.bulk = 0.01, .realtime = 0.01});
  for (int i = 0; i < 3000; ++i)
    p.wrap(i % 7 == 3 ? TrafficClass::RealTime : TrafficClass::Bulk, 100);
  Packet room(1500);
  for (uint64_t i = 3000 - 1000; i < 3000; ++i) EXPECT_GT(p.sender.resend(p.now, i, room), 0u) << i;
  for (uint64_t i = 0; i < 1000; ++i) EXPECT_EQ(p.sender.resend(p.now, i, room), 0u) << i;
  EXPECT_EQ(p.sender.resend(p.now, 3000, room), 0u);
}

TEST(PathRecovery, reports_tell_loss_and_recovery) {
  PathPair p;
  p.sender.set_shares({.bulk = 0.5, .bulk_window = 16});
  for (int i = 0; i < 200; ++i) {
    const Packet packet = p.wrap();
    if (i % 20 != 10) p.arrive(packet);
    p.arrive_all(p.repairs());
    p.advance(1ms);
  }
  p.advance(500ms);
  ASSERT_TRUE(p.receiver.report_due(p.now));
  const PathReport report = p.receiver.make_report(p.now);
  EXPECT_FALSE(p.receiver.report_due(p.now));
  const auto& bulk = report.classes[static_cast<size_t>(TrafficClass::Bulk)];
  EXPECT_EQ(bulk.lost, 10u);
  EXPECT_EQ(bulk.loss_events, 10u);
  EXPECT_EQ(bulk.recovered, 10u);
  EXPECT_EQ(bulk.abandoned, 0u);
  EXPECT_GE(bulk.settled, 200u);
  EXPECT_EQ(report.highest, 200u);
}

// Lost, late and doubled repairs: the loss that is told decides about the code.
TEST(PathRecovery, counts_lost_repairs_once) {
  PathPair p;
  p.sender.set_shares({.bulk = 1, .bulk_window = 8});
  const auto bulk_lost = [&] {
    return p.receiver.figures().classes[static_cast<size_t>(TrafficClass::Bulk)].lost;
  };
  std::vector<Packet> repairs;
  for (int i = 0; i < 300; ++i) {
    p.arrive(p.wrap());
    repairs.push_back(p.repairs().at(0));
  }
  for (size_t i = 0; i < 100; ++i) {
    if (i % 10 != 5) p.arrive(repairs[i]);
  }
  EXPECT_EQ(bulk_lost(), 10u);
  p.arrive(repairs[95]);  // late
  EXPECT_EQ(bulk_lost(), 9u);
  for (size_t i = 0; i < 50; ++i) p.arrive(repairs[95 + i % 5]);  // replayed
  for (size_t i = 0; i < 50; ++i) p.arrive(repairs[40 + i]);
  EXPECT_LE(bulk_lost(), 9u);
  EXPECT_GE(bulk_lost(), 4u);  // 45 to 85 came late
  // An outage longer than the memory of repairs: what follows is not taken for late ones.
  const uint64_t before = bulk_lost();
  for (size_t i = 200; i < 300; ++i) p.arrive(repairs[i]);
  EXPECT_EQ(bulk_lost(), before);
}

// ---- hostile ----------------------------------------------------------------------------------

constexpr size_t kFront = kPathPrefixSize + kPathHeaderSize;

TEST(PathRecovery, forged_repairs_change_counters_only) {
  PathPair p;
  p.sender.set_shares({.bulk = 1, .bulk_window = 16});
  for (int i = 0; i < 10; ++i) {
    p.arrive(p.wrap());
    for (const Packet& repair : p.repairs()) {
      // Anywhere between the header and the sample of the mask.
      for (size_t at = kFront; at + 16 < repair.size(); at += 13) {
        Packet changed = repair;
        changed[at] ^= 0x20;
        p.arrive(changed);
      }
    }
  }
  EXPECT_EQ(p.delivered.size(), 10u);
  EXPECT_EQ(p.receiver.counters().repairs, 0u);
  EXPECT_GT(p.receiver.counters().forged, 100u);
  EXPECT_EQ(p.receiver.counters().recovered, 0u);
}

TEST(PathRecovery, forged_messages_change_counters_only) {
  PathPair p;
  std::array<uint8_t, kPathMessageMax> plain;
  const size_t size = write_path_message(PathReport{.number = 1}, plain);
  Packet room(1500);
  EXPECT_EQ(p.sender.write_control(p.now, Bytes(plain).first(size), room, 9), 0u);  // to whom?
  p.wrap();
  room.resize(p.sender.write_control(p.now, Bytes(plain).first(size), room, 9));
  for (size_t at = kFront; at + 16 < room.size(); ++at) {
    Packet changed = room;
    changed[at] ^= 1;
    EXPECT_EQ(p.arrive(changed), std::nullopt);
  }
  EXPECT_EQ(p.receiver.counters().forged, room.size() - kFront - 16);
  const auto message = p.arrive(room);
  ASSERT_TRUE(message);
  EXPECT_EQ(std::get<PathReport>(*message).number, 1u);
  EXPECT_TRUE(p.delivered.empty());
}

TEST(PathRecovery, replayed_repairs_bring_nothing_twice) {
  PathPair p;
  p.sender.set_shares({.bulk = 1, .bulk_window = 8});
  std::vector<Packet> all;
  for (int i = 0; i < 20; ++i) {
    const Packet packet = p.wrap();
    if (i % 4 != 0) p.arrive(packet);
    for (Packet& repair : p.repairs()) all.push_back(std::move(repair));
    p.arrive_all(all);
  }
  EXPECT_EQ(p.delivered.size(), 20u);
  EXPECT_EQ(p.changed_ones.size(), 0u);
}

}  // namespace
}  // namespace masque
