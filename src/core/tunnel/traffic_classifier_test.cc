// SPDX-License-Identifier: Apache-2.0
#include "core/tunnel/traffic_classifier.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "base/rng.h"
#include "core/tunnel/test_packets.h"

namespace masque {
namespace {

using test::at;
using test::make_packet;
using test::Packet;
using test::view_of;

constexpr uint8_t kExpedited = 46;
constexpr uint8_t kAf41 = 34;

struct Shape {
  uint8_t protocol = ip_protocol::kUdp;
  size_t size = 200;
  uint8_t dscp = 0;
  uint16_t source_port = 40000;
  uint16_t destination_port = 5004;
  const char* source = "10.0.0.1";
};

Packet make(const Shape& shape) {
  Packet packet =
      make_packet(shape.source, "192.0.2.1", {.protocol = shape.protocol, .size = shape.size});
  packet[1] = static_cast<uint8_t>(shape.dscp << 2);
  store_be16(&packet[10], 0);
  store_be16(&packet[10], internet_checksum(Bytes(packet).first(20)));
  store_be16(&packet[20], shape.source_port);
  store_be16(&packet[22], shape.destination_port);
  return packet;
}

struct Classify {
  explicit Classify(ClassifierOptions options = {})
      : classifier(std::move(options), FlowHash(42)) {}
  TrafficClass operator()(Instant now, const Shape& shape) {
    const Packet packet = make(shape);
    return classifier.classify(now, view_of(packet), packet);
  }
  // The class after `count` packets, `interval` apart.
  TrafficClass run(Instant& now, const Shape& shape, int count, Duration interval) {
    TrafficClass last{};
    for (int i = 0; i < count; ++i, now += interval) last = (*this)(now, shape);
    return last;
  }
  TrafficClassifier classifier;
};

TEST(TrafficClassifier, rfc4594_by_dscp) {
  Classify classify;
  for (uint8_t dscp = 0; dscp < 64; ++dscp) {
    const bool realtime = std::ranges::contains(std::array{46, 44, 40, 32, 34, 36, 38}, dscp);
    for (const uint8_t protocol : {ip_protocol::kUdp, ip_protocol::kTcp, ip_protocol::kEsp}) {
      EXPECT_EQ(classify(at(0s), {.protocol = protocol, .size = 1200, .dscp = dscp}),
                realtime ? TrafficClass::RealTime : TrafficClass::Bulk)
          << int{dscp};
    }
  }
}

TEST(TrafficClassifier, a_call_is_recognised_by_its_pace) {
  Classify classify;
  Instant now = at(0s);
  EXPECT_EQ(classify.run(now, {}, 10, 20ms), TrafficClass::Bulk);
  EXPECT_EQ(classify.run(now, {}, 6, 20ms), TrafficClass::RealTime);
  EXPECT_EQ(classify.run(now, {}, 1000, 20ms), TrafficClass::RealTime);
  EXPECT_GT(classify.classifier.counters().by_pace, 1000u);
}

TEST(TrafficClassifier, a_call_that_the_network_has_shaken_is_still_one) {
  Classify classify;
  SeededRng rng(7);
  uint64_t realtime = 0;
  Instant last = at(0s);
  for (int i = 0; i < 1000; ++i) {
    // Jitter of up to 30 ms, order kept.
    last = std::max(last, at(i * 20ms) + Duration(static_cast<int64_t>(rng.below(30'000'000))));
    if (classify(last, {}) == TrafficClass::RealTime) ++realtime;
  }
  EXPECT_GE(realtime, 950u);
}

TEST(TrafficClassifier, silence_changes_nothing_until_the_flow_is_forgotten) {
  Classify classify;
  Instant now = at(0s);
  classify.run(now, {}, 100, 20ms);
  now += TrafficClassifier::kForgetAfter - 1s;
  EXPECT_EQ(classify(now, {}), TrafficClass::RealTime);
  now += TrafficClassifier::kForgetAfter + 1s;
  EXPECT_EQ(classify(now, {}), TrafficClass::Bulk);
}

TEST(TrafficClassifier, large_fast_and_irregular_flows_are_bulk) {
  struct Case {
    const char* name;
    size_t size;
    Duration interval;
    int burst;
  };
  for (const Case& c : {Case{"video without a mark", 1200, 3ms, 1},
                        Case{"over 400 bytes", 401, 20ms, 1}, Case{"over 1 Mbit/s", 399, 3ms, 1},
                        Case{"acknowledgements", 60, 1ms, 1}, Case{"bunches", 100, 40ms, 8}}) {
    Classify classify;
    Instant now = at(0s);
    for (int i = 0; i < 200; ++i, now += c.interval) {
      for (int j = 0; j < c.burst; ++j) {
        EXPECT_EQ(classify(now, {.size = c.size}), TrafficClass::Bulk) << c.name;
      }
    }
  }
}

TEST(TrafficClassifier, limits_are_inclusive) {
  Classify classify;
  Instant now = at(0s);
  EXPECT_EQ(classify.run(now, {.size = 400}, 50, 20ms), TrafficClass::RealTime);
  EXPECT_EQ(classify.run(now, {.size = 375, .source_port = 2}, 50, 3ms), TrafficClass::RealTime);
  EXPECT_EQ(classify.run(now, {.size = 60, .source_port = 3}, 50, 100ms), TrafficClass::RealTime);
  EXPECT_EQ(classify.run(now, {.size = 60, .source_port = 4}, 50, 101ms), TrafficClass::Bulk);
}

TEST(TrafficClassifier, a_flow_that_grows_becomes_bulk_and_not_for_one_packet) {
  Classify classify;
  Instant now = at(0s);
  classify.run(now, {}, 100, 20ms);
  EXPECT_EQ(classify(now, {.size = 1400}), TrafficClass::RealTime);
  now += 20ms;
  EXPECT_EQ(classify.run(now, {}, 10, 20ms), TrafficClass::RealTime);
  EXPECT_EQ(classify.run(now, {.size = 1400}, 100, 20ms), TrafficClass::Bulk);
}

TEST(TrafficClassifier, marked_video_of_4_mbit_is_real_time_but_not_a_flood) {
  Classify classify;
  Instant now = at(0s);
  // 1250 bytes every 2.5 ms: 4 Mbit/s
  EXPECT_EQ(classify.run(now, {.size = 1250, .dscp = kAf41}, 2000, 2500us), TrafficClass::RealTime);
  // Every 0.1 ms: 100 Mbit/s
  EXPECT_EQ(classify.run(now, {.size = 1250, .dscp = kAf41}, 10000, 100us), TrafficClass::Bulk);
  EXPECT_GT(classify.classifier.counters().too_fast, 0u);
  EXPECT_EQ(classify.run(now, {.size = 1250, .dscp = kAf41}, 2000, 2500us), TrafficClass::RealTime);
}

TEST(TrafficClassifier, tcp_is_bulk_at_any_pace) {
  Classify classify;
  Instant now = at(0s);
  EXPECT_EQ(classify.run(now, {.protocol = ip_protocol::kTcp, .size = 60}, 100, 20ms),
            TrafficClass::Bulk);
  EXPECT_EQ(classify(now, {.protocol = ip_protocol::kTcp, .dscp = kExpedited}),
            TrafficClass::RealTime);
}

TEST(TrafficClassifier, ports_that_are_configured) {
  Classify classify({.realtime_ports = {{.first = 3478, .last = 3481}}});
  EXPECT_EQ(classify(at(0s), {.size = 1200, .destination_port = 3478}), TrafficClass::RealTime);
  EXPECT_EQ(classify(at(0s), {.size = 1200, .source_port = 3481}), TrafficClass::RealTime);
  EXPECT_EQ(classify(at(0s), {.size = 1200, .destination_port = 3482}), TrafficClass::Bulk);
  EXPECT_EQ(classify(at(0s), {.protocol = ip_protocol::kTcp, .destination_port = 3478}),
            TrafficClass::Bulk);
}

TEST(TrafficClassifier, fragments_are_bulk_unless_they_are_marked) {
  Classify classify({.realtime_ports = {{.first = 1, .last = 65535}}});
  for (const uint16_t fragment : std::array<uint16_t, 3>{0x2000, 0x2010, 0x0010}) {
    Packet packet = make({});
    store_be16(&packet[6], fragment);
    store_be16(&packet[10], 0);
    store_be16(&packet[10], internet_checksum(Bytes(packet).first(20)));
    for (int i = 0; i < 50; ++i) {
      EXPECT_EQ(classify.classifier.classify(at(i * 20ms), view_of(packet), packet),
                TrafficClass::Bulk);
    }
  }
}

TEST(TrafficClassifier, esp_is_judged_by_its_pace) {
  Classify classify;
  Instant now = at(0s);
  EXPECT_EQ(classify.run(now, {.protocol = ip_protocol::kEsp}, 50, 20ms), TrafficClass::RealTime);
}

TEST(TrafficClassifier, switched_off_everything_is_bulk) {
  Classify classify({.mode = ClassifierOptions::Mode::AllBulk});
  EXPECT_EQ(classify(at(0s), {.dscp = kExpedited}), TrafficClass::Bulk);
}

TEST(TrafficClassifier, the_table_is_bounded_and_a_call_survives_a_scan) {
  Classify classify;
  Instant now = at(0s);
  classify.run(now, {}, 100, 20ms);
  // Many new flows, but fewer than kWays of a set between two packets of the call.
  uint16_t port = 1;
  for (int i = 0; i < 500; ++i, now += 20ms) {
    for (int j = 0; j < 100; ++j) classify(now, {.source_port = port++, .source = "10.0.0.2"});
    EXPECT_EQ(classify(now, {}), TrafficClass::RealTime);
  }
  EXPECT_GT(classify.classifier.counters().flows_evicted, 10'000u);
}

TEST(FlowHash, depends_on_all_that_names_a_flow_and_on_its_seed) {
  const FlowHash hash(1);
  const auto of = [](const FlowHash& h, const Shape& shape) {
    const Packet packet = make(shape);
    return h(view_of(packet), packet);
  };
  const uint64_t base = of(hash, {});
  EXPECT_EQ(of(hash, {.size = 900, .dscp = kAf41}), base);
  EXPECT_NE(of(hash, {.source = "10.0.0.2"}), base);
  EXPECT_NE(of(hash, {.source_port = 1}), base);
  EXPECT_NE(of(hash, {.destination_port = 1}), base);
  EXPECT_NE(of(hash, {.protocol = ip_protocol::kTcp}), base);
  EXPECT_NE(of(FlowHash(2), {}), base);
}

}  // namespace
}  // namespace masque
