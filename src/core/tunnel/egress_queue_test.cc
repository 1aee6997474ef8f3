// SPDX-License-Identifier: Apache-2.0
#include "core/tunnel/egress_queue.h"

#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <deque>
#include <map>

#include "core/tunnel/flow_hash.h"
#include "core/tunnel/packet_mark.h"
#include "core/tunnel/test_packets.h"

namespace masque {
namespace {

using test::at;
using test::make_packet;
using test::Packet;
using test::view_of;

constexpr auto kBulk = TrafficClass::Bulk;
constexpr auto kRealTime = TrafficClass::RealTime;
constexpr Duration kTarget = 5ms;
constexpr Duration kInterval = 100ms;

Packet numbered(uint32_t number, size_t size = 1400) {
  Packet packet = make_packet("10.0.0.1", "192.0.2.1", {.size = std::max<size_t>(size, 32)});
  store_be32(&packet[28], number);
  return packet;
}
uint32_t number_of(Bytes packet) { return load_be32(&packet[28]); }

void push(EgressQueue& queue, Instant now, TrafficClass c, uint64_t flow, const Packet& packet) {
  queue.push(now, c, flow, {.head = Bytes(packet).first(20), .body = Bytes(packet).subspan(20)});
}

// Takes one packet; nullopt when there is none.
std::optional<Packet> take(EgressQueue& queue, Instant now) {
  const auto front = queue.front(now);
  if (!front) return std::nullopt;
  Packet out(front->packet.begin(), front->packet.end());
  queue.pop();
  return out;
}

// Numbers of distant flows: different sets.
uint64_t flow(uint64_t n) { return n * 0x9e3779b97f4a7c15; }

TEST(EgressQueue, real_time_goes_first_and_keeps_its_order) {
  EgressQueue queue({});
  push(queue, at(0s), kBulk, flow(1), numbered(1));
  push(queue, at(0s), kRealTime, flow(2), numbered(2));
  push(queue, at(0s), kRealTime, flow(3), numbered(3));
  for (const uint32_t expected : {2u, 3u, 1u}) {
    const auto front = queue.front(at(1ms));
    ASSERT_TRUE(front);
    EXPECT_EQ(front->traffic_class, expected == 1 ? kBulk : kRealTime);
    EXPECT_EQ(number_of(front->packet), expected);
    queue.pop();
  }
  EXPECT_TRUE(queue.empty());
  EXPECT_EQ(queue.bytes(), 0u);
}

TEST(EgressQueue, real_time_that_comes_while_bulk_waits_for_the_channel_overtakes_it) {
  EgressQueue queue({});
  push(queue, at(0s), kBulk, flow(1), numbered(1));
  EXPECT_EQ(number_of(queue.front(at(0s))->packet), 1u);  // blocked
  push(queue, at(1ms), kRealTime, flow(2), numbered(2));
  EXPECT_EQ(number_of(*take(queue, at(1ms))), 2u);
  EXPECT_EQ(number_of(*take(queue, at(1ms))), 1u);
}

TEST(EgressQueue, real_time_expires) {
  EgressQueue queue({.realtime_delay_max = 100ms});
  push(queue, at(0ms), kRealTime, flow(1), numbered(1));
  push(queue, at(50ms), kRealTime, flow(1), numbered(2));
  EXPECT_EQ(number_of(queue.front(at(100ms))->packet), 1u);
  EXPECT_EQ(number_of(*take(queue, at(101ms))), 2u);
  EXPECT_EQ(queue.counters().expired, 1u);
  EXPECT_EQ(queue.counters().realtime_dropped, 1u);
}

TEST(EgressQueue, bulk_expires_after_an_outage) {
  EgressQueue queue({.bulk_delay_max = 1s});
  push(queue, at(0ms), kBulk, flow(1), numbered(1));
  EXPECT_TRUE(queue.front(at(1ms)));  // also the one that was named already
  push(queue, at(1ms), kBulk, flow(1), numbered(2));
  push(queue, at(500ms), kBulk, flow(1), numbered(3));
  EXPECT_EQ(number_of(*take(queue, at(1002ms))), 3u);
  EXPECT_EQ(queue.counters().expired, 2u);
  EXPECT_TRUE(queue.empty());
}

TEST(EgressQueue, real_time_is_bounded_by_its_share) {
  EgressQueue queue({.bytes_max = 64 * 1536});
  const size_t share = queue.bytes_max() / EgressQueue::kRealTimeShare / 1536;
  for (uint32_t i = 0; i <= share; ++i) push(queue, at(0s), kRealTime, 0, numbered(i));
  EXPECT_EQ(queue.count(), share);
  EXPECT_EQ(queue.counters().overflow, 1u);
  EXPECT_EQ(queue.counters().realtime_dropped, 1u);
  EXPECT_EQ(number_of(*take(queue, at(0s))), 1u);
}

TEST(EgressQueue, faults_c15_the_oldest_leaves_when_it_is_full) {
  EgressQueue queue({.bytes_max = 4 * 1536});
  for (uint32_t i = 0; i < 5; ++i) push(queue, at(0s), kBulk, flow(1), numbered(i));
  EXPECT_EQ(queue.counters().overflow, 1u);
  for (uint32_t i = 1; i < 5; ++i) EXPECT_EQ(number_of(*take(queue, at(0s))), i);
}

TEST(EgressQueue, a_packet_that_never_fits_is_the_one_dropped) {
  EgressQueue queue({.bytes_max = 4 * 1536});
  push(queue, at(0s), kBulk, flow(1), numbered(1));
  push(queue, at(0s), kBulk, flow(1), numbered(2, 4 * 1536 + 1));
  push(queue, at(0s), kRealTime, flow(1), numbered(3, 1537));
  EXPECT_EQ(queue.count(), 1u);
  EXPECT_EQ(queue.counters().overflow, 2u);
}

TEST(EgressQueue, the_longest_flow_pays_for_the_overflow) {
  EgressQueue queue({.bytes_max = 64 * 1536});
  for (uint32_t i = 0; i < 4; ++i) push(queue, at(0s), kBulk, flow(2), numbered(1000 + i));
  for (uint32_t i = 0; i < 500; ++i) push(queue, at(0s), kBulk, flow(1), numbered(i));
  uint32_t of_the_short = 0;
  while (const auto packet = take(queue, at(1ms))) {
    if (number_of(*packet) >= 1000) ++of_the_short;
  }
  EXPECT_EQ(of_the_short, 4u);
  EXPECT_EQ(queue.counters().overflow, 500u - 60u);
}

TEST(EgressQueue, flows_share_by_bytes) {
  EgressQueue queue({.bytes_max = 1024 * 1536});
  for (uint32_t i = 0; i < 100; ++i) push(queue, at(0s), kBulk, flow(1), numbered(i, 1400));
  for (uint32_t i = 0; i < 800; ++i) push(queue, at(0s), kBulk, flow(2), numbered(1000 + i, 200));
  size_t large = 0;
  size_t small = 0;
  while (large + small < 100'000) {
    const auto packet = take(queue, at(0s));
    (number_of(*packet) < 1000 ? large : small) += packet->size();
  }
  EXPECT_NEAR(static_cast<double>(large), static_cast<double>(small), 3000);
}

// --- AQM in virtual time ---

struct Bottleneck {
  EgressQueue queue{{.bytes_max = 2 * 1024 * 1024}};
  Instant now = at(0s);
  Duration per_packet = 224us;  // 1400 bytes at 50 Mbit/s
};

TEST(EgressQueue, codel_lets_bursts_pass) {
  Bottleneck b;
  // 20 ms of queue every 50 ms, empty in between: an interval never passes above the target.
  for (int burst = 0; burst < 100; ++burst) {
    for (uint32_t i = 0; i < 90; ++i) push(b.queue, b.now, kBulk, flow(1), numbered(i));
    const Instant next = b.now + 50ms;
    while (take(b.queue, b.now)) b.now += b.per_packet;
    b.now = next;
  }
  EXPECT_EQ(b.queue.counters().dropped(), 0u);
}

TEST(EgressQueue, codel_does_not_fire_on_a_fast_link) {
  Bottleneck b;
  b.per_packet = 2us;  // 5.6 Gbit/s, the queue always half full: 1.4 ms
  for (uint32_t i = 0; i < 700; ++i) push(b.queue, b.now, kBulk, flow(1), numbered(i));
  for (uint32_t i = 0; i < 500'000; ++i, b.now += b.per_packet) {
    ASSERT_TRUE(take(b.queue, b.now));
    push(b.queue, b.now, kBulk, flow(1), numbered(i));
  }
  EXPECT_EQ(b.queue.counters().dropped(), 0u);
}

// A sender that adds a packet to its window every round trip, and halves it for a signal.
struct Aimd {
  double window = 10;
  Instant signal_noticed{};
};

TEST(EgressQueue, codel_holds_a_tcp_flow_at_its_target) {
  for (const Duration rtt : {20ms, 50ms, 100ms}) {
    Bottleneck b;
    b.queue.set_pace({.round_trip = rtt});
    Aimd tcp{.window = 1000};                               // slow start went far beyond
    std::deque<std::pair<Instant, bool>> acknowledgements;  // and whether a signal came with it
    double in_flight = 0;
    std::vector<Duration> waits;
    uint64_t sent = 0;
    uint64_t dropped = 0;
    uint32_t number = 0;
    std::map<uint32_t, Instant> entered;
    for (; b.now < at(60s); b.now += b.per_packet) {
      while (!acknowledgements.empty() && acknowledgements.front().first <= b.now) {
        in_flight -= 1;
        if (acknowledgements.front().second) {
          if (b.now - tcp.signal_noticed > rtt) {
            tcp.window = std::max(tcp.window / 2, 2.0);
            tcp.signal_noticed = b.now;
          }
        } else {
          tcp.window += 1 / tcp.window;
        }
        acknowledgements.pop_front();
      }
      for (; in_flight + 1 <= tcp.window; in_flight += 1) {
        entered[number] = b.now;
        push(b.queue, b.now, kBulk, flow(1), numbered(number++));
      }
      const auto packet = take(b.queue, b.now);
      for (; dropped < b.queue.counters().dropped(); ++dropped) {
        acknowledgements.emplace_back(b.now + rtt, true);
      }
      if (!packet) continue;
      ++sent;
      if (b.now > at(20s)) waits.push_back(b.now - entered[number_of(*packet)]);
      acknowledgements.emplace_back(b.now + rtt, false);
    }
    std::ranges::sort(waits);
    const double busy = static_cast<double>(sent) * 224e-6 / 60;
    SCOPED_TRACE(std::format("rtt {}: median {}, p95 {}, busy {:.3f}", rtt, waits[waits.size() / 2],
                             waits[waits.size() * 95 / 100], busy));
    EXPECT_LE(waits[waits.size() / 2], 2 * std::max<Duration>(kTarget, rtt / 10));
    EXPECT_LE(waits[waits.size() * 95 / 100], 25ms);
    EXPECT_GE(busy, 0.75);  // what half a window leaves of a link without a standing queue
  }
}

Packet with_ecn(Packet packet, Ecn ecn) {
  if (packet[0] >> 4 == 4) {
    packet[1] = static_cast<uint8_t>((packet[1] & 0xfc) | static_cast<uint8_t>(ecn));
    store_be16(&packet[10], 0);
    store_be16(&packet[10], internet_checksum(Bytes(packet).first(20)));
  } else {
    packet[1] = static_cast<uint8_t>((packet[1] & 0xcf) | static_cast<uint8_t>(ecn) << 4);
  }
  return packet;
}

TEST(PacketMark, rfc3168_5_marks_and_mends_the_checksum) {
  for (const auto& [from, to] : {std::pair{"10.0.0.1", "192.0.2.1"}, {"fd00::1", "2001:db8::1"}}) {
    for (const Ecn ecn : {Ecn::Ect0, Ecn::Ect1, Ecn::Ce}) {
      Packet packet = with_ecn(make_packet(from, to), ecn);
      packet[1] = static_cast<uint8_t>(packet[1] | (packet[0] >> 4 == 4 ? 0xb8 : 0x00));
      if (packet[0] >> 4 == 4) packet = with_ecn(packet, ecn);
      EXPECT_EQ(congestion_signal(packet, packet.size()), CongestionSignal::Marked);
      EXPECT_EQ(view_of(packet).ecn, Ecn::Ce);  // the parser verifies the checksum
      EXPECT_EQ(view_of(packet).dscp, packet[0] >> 4 == 4 ? 46 : 0);
    }
    Packet plain = make_packet(from, to);
    const Packet before = plain;
    EXPECT_EQ(congestion_signal(plain, plain.size()), CongestionSignal::Drop);
    EXPECT_EQ(plain, before);
  }
}

Packet tcp(size_t payload, uint8_t flags) {
  Packet packet =
      make_packet("10.0.0.1", "192.0.2.1", {.protocol = ip_protocol::kTcp, .size = 40 + payload});
  packet[32] = 0x50;
  packet[33] = flags;
  return packet;
}

TEST(PacketMark, bare_acknowledgements_are_spared) {
  constexpr uint8_t kAck = 0x10;
  Packet packet = tcp(0, kAck);
  EXPECT_EQ(congestion_signal(packet, packet.size()), CongestionSignal::Spare);
  for (Packet other : {tcp(1, kAck), tcp(0, kAck | 0x01), tcp(0, kAck | 0x02), tcp(0, 0x04)}) {
    EXPECT_EQ(congestion_signal(other, other.size()), CongestionSignal::Drop);
  }
}

// A queue that stands for seconds.
template <class Make>
EgressCounters standing(Make make) {
  EgressQueue queue({.bytes_max = 2 * 1024 * 1024, .bulk_delay_max = 1h});
  Instant now = at(0s);
  for (uint32_t i = 0; i < 1000; ++i) push(queue, now, kBulk, flow(1), make(i));
  for (int i = 0; i < 5000; ++i, now += 1ms) {
    push(queue, now, kBulk, flow(1), make(static_cast<uint32_t>(i)));
    static_cast<void>(take(queue, now));
  }
  return queue.counters();
}

TEST(EgressQueue, a_standing_queue_drops_ever_faster) {
  const EgressCounters counters = standing([](uint32_t i) { return numbered(i); });
  // RFC 8289 4.2: the n-th signal follows interval / sqrt(n) after the one before: (t / 2
  // interval)^2.
  EXPECT_GE(counters.codel_dropped, 300u);
  EXPECT_LE(counters.codel_dropped, 700u);
  EXPECT_EQ(counters.codel_marked, 0u);
}

TEST(EgressQueue, packets_that_know_ecn_are_marked_and_not_dropped) {
  const EgressCounters counters =
      standing([](uint32_t i) { return with_ecn(numbered(i), Ecn::Ect0); });
  EXPECT_EQ(counters.codel_dropped, 0u);
  EXPECT_GE(counters.codel_marked, 300u);
}

TEST(EgressQueue, acknowledgements_are_not_its_victims) {
  EXPECT_EQ(standing([](uint32_t) { return tcp(0, 0x10); }).dropped(), 0u);
}

TEST(EgressQueue, a_flood_of_a_thousand_flows_does_not_delay_a_sparse_one) {
  EgressQueue queue({.bytes_max = 2 * 1024 * 1024});
  const FlowHash hash(0x1234);
  const auto number = [&](std::string_view source, uint16_t port) {
    Packet packet = make_packet(source, "192.0.2.1");
    store_be16(&packet[20], port);
    return hash(view_of(packet), packet);
  };
  std::vector<uint64_t> flood;
  for (uint16_t i = 0; i < 1000; ++i) flood.push_back(number("10.0.0.9", i));
  Instant now = at(0s);
  size_t next = 0;
  std::vector<Duration> waits;
  std::map<uint32_t, Instant> sparse;
  uint32_t count = 0;
  // The link sends a packet in 224 us, the flood offers four.
  for (int turn = 0; turn < 40'000; ++turn, now += 224us) {
    for (int i = 0; i < 4; ++i) push(queue, now, kBulk, flood[next++ % 1000], numbered(0));
    // At first they are all new, which is as good.
    if (now > at(1s) && turn % 100 == 0) {
      // Each its own flow, as DNS or the beginning of a page would be.
      sparse[++count] = now;
      push(queue, now, kBulk, number("10.0.0.1", static_cast<uint16_t>(count)),
           numbered(count, 100));
    }
    const auto packet = take(queue, now);
    if (packet && number_of(*packet) > 0) waits.push_back(now - sparse[number_of(*packet)]);
  }
  std::ranges::sort(waits);
  EXPECT_EQ(waits.size(), count);
  EXPECT_LE(waits[waits.size() * 99 / 100], 5ms);
  EXPECT_LE(waits[waits.size() / 2], 500us);
}

TEST(EgressQueue, agrees_with_a_model_of_plain_queues) {
  // No AQM in the model: nothing waits long enough. Per flow the order is kept, nothing is lost but
  // what the counters say, nothing comes twice.
  EXPECT_TRUE(rc::check([](const std::vector<uint32_t>& steps) {
    EgressQueue queue({.bytes_max = 32 * 1536});
    std::map<uint64_t, std::deque<Packet>> model;
    size_t in_model = 0;
    uint32_t number = 0;
    std::map<uint32_t, uint64_t> flow_of;
    const auto check_taken = [&](const Packet& packet) {
      auto& fifo = model[flow_of.at(number_of(packet))];
      // Those before it were dropped at the head.
      while (!fifo.empty() && fifo.front() != packet) {
        fifo.pop_front();
        --in_model;
      }
      RC_ASSERT(!fifo.empty());
      fifo.pop_front();
      --in_model;
    };
    uint64_t pushed = 0;
    uint64_t taken = 0;
    for (const uint32_t step : steps) {
      if (step % 3 == 0) {
        if (const auto packet = take(queue, at(0s))) {
          check_taken(*packet);
          ++taken;
        }
      } else {
        const bool realtime = step % 7 == 0;
        const uint64_t id = realtime ? 99 : step % 5;
        const Packet packet = numbered(++number, step / 16 % 3000 + 32);
        flow_of[number] = id;
        model[id].push_back(packet);
        ++in_model;
        ++pushed;
        push(queue, at(0s), realtime ? kRealTime : kBulk, flow(id), packet);
      }
      RC_ASSERT(queue.count() == pushed - taken - queue.counters().dropped());
      RC_ASSERT(queue.bytes() <= queue.bytes_max());
      RC_ASSERT(queue.empty() == (queue.count() == 0));
    }
    while (const auto packet = take(queue, at(0s))) {
      check_taken(*packet);
      ++taken;
    }
    RC_ASSERT(taken + queue.counters().dropped() == pushed);
    RC_ASSERT(queue.bytes() == 0u);
  }));
}

}  // namespace
}  // namespace masque
