// SPDX-License-Identifier: Apache-2.0
// Once warm, the path layer allocates nothing for a packet: two whole layers,
// 100,000 packets each way over a link that loses 2 %, with repairs, packets asked for again and
// reports.
#include <gtest/gtest.h>

#include "base/rng.h"
#include "core/path/path_layer.h"
#include "core/path/path_test_support.h"
#include "property/allocation_counter.h"

namespace masque {
namespace {

using testing::kQuicId;
using testing::SumProtection;

constexpr Duration kStep = 250us;
constexpr Duration kDelay = 20ms;
constexpr uint64_t kWarmUp = 20'000;  // packets each way
constexpr uint64_t kCounted = 100'000;
constexpr uint64_t kRealTimeEvery = 40;  // of the packets: 100 a second

// One direction of the link, with room for what is on its way.
class Way {
 public:
  explicit Way(uint64_t seed) : rng_(seed), slots_(kSlots) {}

  MutableBytes room() { return slots_[(first_ + count_) % kSlots].bytes; }
  // What lies in room() is sent; 2 % of it are lost.
  void send(Instant now, size_t size) {
    if (rng_.below(50) == 0) return;
    Slot& slot = slots_[(first_ + count_) % kSlots];
    slot.at = now + kDelay;
    slot.size = size;
    ASSERT_LT(++count_, kSlots);
  }
  MutableBytes due(Instant now) {
    if (count_ == 0 || slots_[first_].at > now) return {};
    Slot& slot = slots_[first_];
    first_ = (first_ + 1) % kSlots;
    --count_;
    return MutableBytes(slot.bytes).first(slot.size);
  }

 private:
  static constexpr size_t kSlots = 1024;
  struct Slot {
    Instant at;
    size_t size = 0;
    std::array<uint8_t, 1500> bytes;
  };
  SeededRng rng_;
  std::vector<Slot> slots_;
  size_t first_ = 0;
  size_t count_ = 0;
};

// The number stands behind the connection ID, what follows comes from it.
void write_quic_packet(uint64_t number, MutableBytes out) {
  out[0] = 0x40;
  std::ranges::copy(kQuicId, out.begin() + 1);
  store_be32(&out[kPathPrefixSize], static_cast<uint32_t>(number));
  for (size_t i = kPathPrefixSize + 4; i < out.size(); ++i)
    out[i] = static_cast<uint8_t>(number * 131 + i * 7);
}
bool is_intact(Bytes packet) {
  const uint64_t number = load_be32(packet.data() + kPathPrefixSize);
  for (size_t i = kPathPrefixSize + 4; i < packet.size(); ++i) {
    if (packet[i] != static_cast<uint8_t>(number * 131 + i * 7)) return false;
  }
  return std::ranges::equal(packet.subspan(1, kPathIdLength), kQuicId);
}

class End : public QuicPacketSink {
 public:
  explicit End(const PathSettings& settings)
      : layer(settings, {.send = std::make_unique<SumProtection>(),
                         .receive = std::make_unique<SumProtection>()}) {
    layer.add_connection_id(kQuicId);
  }
  void step(Instant now, Way& out, Way& in) {
    for (MutableBytes packet = in.due(now); !packet.empty(); packet = in.due(now))
      layer.on_packet(now, {}, packet, *this);
    const auto timeout = layer.next_timeout(now, PathLayer::Sending::Allowed);
    if (timeout && *timeout <= now) layer.on_timeout(now, *this);
    const TrafficClass its =
        sent % kRealTimeEvery == 0 ? TrafficClass::RealTime : TrafficClass::Bulk;
    if (layer.may_send(now, its)) {
      const size_t size = its == TrafficClass::RealTime ? 160 : 60 + sent * 37 % 1200;
      write_quic_packet(sent++, out.room().subspan(kPathHeaderSize, size));
      layer.wrap(now, its, out.room(), size);
      out.send(now, size + kPathHeaderSize);
    }
    while (const size_t size = layer.poll_transmit(now, out.room())) out.send(now, size);
  }
  void on_quic_packet(Instant, const PathArrival&, const DatagramOrigin&,
                      MutableBytes packet) override {
    ++delivered;
    if (!is_intact(packet)) ++changed;
  }

  PathLayer layer;
  uint64_t sent = 0, delivered = 0, changed = 0;
};

struct Case {
  ErasureCode code;
  PathSettings::Shaper shaper;
};
class PathAllocation : public ::testing::TestWithParam<Case> {};

TEST_P(PathAllocation, nothing_is_allocated_for_a_packet) {
  const PathSettings settings{
      .mode = ResilienceMode::Auto, .code = GetParam().code, .shaper = GetParam().shaper};
  End a(settings), b(settings);
  Way to_a(1), to_b(2);
  Instant now{10s};
  const auto run = [&](uint64_t packets) {
    for (const uint64_t end = a.sent + packets; a.sent < end || b.sent < end; now += kStep) {
      a.step(now, to_b, to_a);
      b.step(now, to_a, to_b);
    }
  };
  run(kWarmUp);
  const size_t before = allocations_by_new();
  const PathFigures at_first = a.layer.figures(now);
  run(kCounted);
  EXPECT_EQ(allocations_by_new(), before);
  const PathFigures figures = a.layer.figures(now);
  const PathClassFigures& bulk = figures.classes[static_cast<size_t>(TrafficClass::Bulk)];
  const PathClassFigures& call = figures.classes[static_cast<size_t>(TrafficClass::RealTime)];
  // All that there is was on the way: losses, repairs of both classes, recovery.
  EXPECT_GT(bulk.repairs_sent, 1000u);
  EXPECT_GT(call.repairs_sent, 1000u);
  EXPECT_GT(figures.received.recovered, at_first.received.recovered + 500);
  EXPECT_GT(figures.received.held, at_first.received.held + 500);
  for (const End* end : {&a, &b}) EXPECT_EQ(end->changed, 0u);
  EXPECT_GE(a.delivered + 2500, b.sent);
  EXPECT_GE(b.delivered + 2500, a.sent);
}

INSTANTIATE_TEST_SUITE_P(
    Codes, PathAllocation,
    ::testing::Values(Case{ErasureCode::SlidingWindow, PathSettings::Shaper::Off},
                      Case{ErasureCode::SlidingWindow, PathSettings::Shaper::On},
                      Case{ErasureCode::ReedSolomon, PathSettings::Shaper::Off},
                      Case{ErasureCode::Xor, PathSettings::Shaper::Off}),
    [](const auto& its) {
      std::string name(to_string(its.param.code));
      std::ranges::replace(name, '-', '_');
      return name + (its.param.shaper == PathSettings::Shaper::On ? "_shaped" : "");
    });

}  // namespace
}  // namespace masque
