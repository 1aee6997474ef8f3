// SPDX-License-Identifier: Apache-2.0
// Packets of somebody on the wire without keys, one trick at a time (faults.md G, P1, P3): what was
// seen, cut, changed, sent again, from another place in time. The genuine packets come as well, and
// what is made of them must not change.
#include <gtest/gtest.h>

#include <numeric>

#include "base/rng.h"
#include "core/path/path_layer.h"
#include "core/path/path_offer.h"
#include "core/path/path_test_support.h"

namespace masque {
namespace {

using testing::kQuicId;
using testing::Packet;
using testing::PathPair;
using testing::quic_packet;
using testing::SumProtection;

constexpr size_t kContentAt = kPathPrefixSize + kPathHeaderSize;

std::vector<uint64_t> count_up(uint64_t end) {
  std::vector<uint64_t> out(end);
  std::iota(out.begin(), out.end(), uint64_t{0});
  return out;
}
// Each genuine packet once, whatever else was handed on for QUIC to refuse.
std::vector<uint64_t> genuine(const PathPair& pair) {
  std::vector<uint64_t> out;
  for (const uint64_t number : pair.delivered) {
    if (number < pair.sent && std::ranges::find(out, number) == out.end()) out.push_back(number);
  }
  return out;
}

// The same of those that are as they were sent.
std::vector<uint64_t> genuine_unchanged(const PathPair& pair) {
  std::vector<uint64_t> out;
  for (size_t i = 0; i < pair.delivered.size(); ++i) {
    if (!pair.changed_ones.contains(i)) out.push_back(pair.delivered[i]);
  }
  std::ranges::sort(out);
  return out;
}

TEST(HostilePackets, cut_at_every_length) {
  PathPair p;
  p.sender.set_shares({.bulk = 1, .bulk_window = 8});
  for (int i = 0; i < 4; ++i) {
    std::vector<Packet> all = p.repairs();
    all.push_back(p.wrap());
    for (const Packet& packet : all) {
      p.arrive(packet);
      for (size_t size = 0; size < packet.size(); ++size)
        p.arrive(Packet(packet.begin(), packet.begin() + static_cast<ptrdiff_t>(size)));
    }
    p.now += 1ms;
  }
  EXPECT_EQ(genuine(p), count_up(4));
  EXPECT_EQ(p.receiver.counters().recovered, 0u);
  EXPECT_GT(p.receiver.counters().damaged, 500u);
}

TEST(HostilePackets, longer_than_any_packet_may_be) {
  PathPair p;
  p.arrive(p.wrap());
  Packet packet = p.wrap();
  p.arrive(packet);
  const uint64_t damaged = p.receiver.counters().damaged;
  packet.resize(PathReceiver::kPacketMax + 1);
  p.arrive(packet);
  EXPECT_EQ(p.receiver.counters().damaged, damaged + 1);
  packet.resize(65'000);
  p.arrive(packet);
  EXPECT_EQ(p.receiver.counters().damaged, damaged + 2);
  EXPECT_EQ(p.delivered, count_up(2));
}

// Whole in every other way: masked, and sealed, as only the peer can.
TEST(HostilePackets, longer_than_what_is_kept_of_them) {
  PathPair p;
  p.arrive(p.wrap());
  p.arrive(p.wrap(TrafficClass::Bulk, PathReceiver::kPacketMax - kPathHeaderSize));
  p.wrap();  // lost: what follows would have to be held
  const Packet longest = p.wrap(TrafficClass::Bulk, PathReceiver::kPacketMax - kPathHeaderSize);
  const Packet longer = p.wrap(TrafficClass::Bulk, PathReceiver::kPacketMax - kPathHeaderSize + 1);
  p.arrive(longest);
  p.arrive(longer);
  EXPECT_EQ(p.receiver.counters().damaged, 1u);
  EXPECT_EQ(p.receiver.counters().held, 1u);
  for (const size_t size : {kPathMessageMax, kPathMessageMax + 1, size_t{1400}}) {
    const uint64_t forged = p.receiver.counters().forged;
    Packet room(1500);
    room.resize(p.sender.write_control(p.now, Packet(size, 0x3f), room, 9));
    EXPECT_EQ(p.arrive(room), std::nullopt);
    EXPECT_EQ(p.receiver.counters().forged, forged + (size > kPathMessageMax ? 1 : 0)) << size;
  }
}

TEST(HostilePackets, random_bytes_behind_the_right_connection_id) {
  PathPair p;
  SeededRng rng(5);
  for (int i = 0; i < 100; ++i) p.arrive(p.wrap());
  constexpr uint64_t kAttempts = 20'000;
  for (uint64_t i = 0; i < kAttempts; ++i) {
    Packet packet(rng.below(300));
    rng.fill(packet);
    p.arrive(packet);
  }
  for (int i = 0; i < 100; ++i) p.arrive(p.wrap());
  EXPECT_EQ(genuine(p), count_up(200));
  EXPECT_EQ(p.receiver.counters().repairs, 0u);
  // One in 256 passes the check of the header; three of four kinds are looked at further.
  const PathReceiverCounters& seen = p.receiver.counters();
  EXPECT_GE(seen.damaged, kAttempts * 9 / 10);
}

// Every kind of packet, any bits between the header and the sample that masks it.
TEST(HostilePackets, changed_contents_are_no_repairs_and_no_messages) {
  PathPair p;
  p.sender.set_shares({.bulk = 1, .bulk_window = 8});
  SeededRng rng(6);
  for (int i = 0; i < 200; ++i) {
    p.arrive(p.wrap());
    for (const Packet& repair : p.repairs()) {
      Packet changed = repair;
      changed[kContentAt + rng.below(changed.size() - kContentAt - 16)] ^=
          static_cast<uint8_t>(1u << rng.below(8));
      p.arrive(changed);
    }
    p.now += 1ms;
  }
  EXPECT_EQ(p.delivered, count_up(200));
  EXPECT_EQ(p.receiver.counters().repairs, 0u);
  EXPECT_EQ(p.receiver.counters().recovered, 0u);
  EXPECT_GE(p.receiver.counters().forged, 199u);
}

TEST(HostilePackets, repairs_of_another_connection) {
  class OtherKeys final : public PathProtection {
   public:
    void mask(std::span<const uint8_t, kSampleSize> sample,
              std::span<uint8_t, kMaskSize> out) override {
      sums_.mask(sample, out);  // even if the masks agreed
    }
    uint32_t check(std::span<const uint8_t, kBlockSize> block) override {
      return sums_.check(block);  // and the checks
    }
    uint64_t tag(Bytes first, Bytes second) override { return sums_.tag(first, second) + 1; }
    bool seal(Bytes associated, Bytes plain, MutableBytes out) override {
      const bool sealed = sums_.seal(associated, plain, out);
      out.back() ^= 1;
      return sealed;
    }
    bool open(Bytes associated, Bytes sealed, MutableBytes out) override {
      return sums_.open(associated, sealed, out);
    }

   private:
    SumProtection sums_;
  };
  OtherKeys other_keys;
  PathPair p;
  PathSender other({.mode = ResilienceMode::Auto}, other_keys);
  other.set_shares({.bulk = 1, .bulk_window = 8});
  std::array<uint8_t, kPathMessageMax> plain;
  const size_t message = write_path_message(PathReport{.number = 9}, plain);
  for (int i = 0; i < 50; ++i) {
    p.arrive(p.wrap());
    const Packet quic = quic_packet(p.sent, 200);
    Packet room(kPathHeaderSize);
    room.insert(room.end(), quic.begin(), quic.end());
    other.wrap(p.now, TrafficClass::Bulk, room, quic.size());
    for (Packet repair(1500);; repair.assign(1500, 0)) {
      const size_t size = other.poll_repair(p.now, repair);
      if (size == 0) break;
      repair.resize(size);
      EXPECT_EQ(p.arrive(repair), std::nullopt);
    }
    Packet control(1500);
    control.resize(other.write_control(p.now, Bytes(plain).first(message), control, 3));
    EXPECT_EQ(p.arrive(control), std::nullopt);
  }
  EXPECT_EQ(p.delivered, count_up(50));
  EXPECT_EQ(p.receiver.counters().repairs, 0u);
  EXPECT_EQ(p.receiver.counters().forged, 100u);
}

// Somebody who is faster than the link, with the contents changed where no sample is taken: each of
// them comes first and takes its place.
TEST(HostilePackets, forged_copies_do_not_take_the_place_of_what_they_forge) {
  for (const bool in_order : {true, false}) {
    PathPair p;
    p.arrive(p.wrap());
    if (!in_order) p.wrap();  // what follows is held
    for (int i = 0; i < 20; ++i) {
      const Packet packet = p.wrap();
      Packet changed = packet;
      changed[kContentAt + 4] ^= 0x10;
      p.arrive(changed);
      p.arrive(packet);
    }
    p.advance(500ms);
    std::vector<uint64_t> wanted = count_up(p.sent);
    if (!in_order) wanted.erase(wanted.begin() + 1);
    EXPECT_EQ(genuine_unchanged(p), wanted);
  }
}

TEST(HostileOffers, longer_than_any_needs_to_be) {
  constexpr std::string_view kFront = "1;codes=\"sliding-window\";x=\"";
  const auto offer = [&](size_t size) {
    return std::string(kFront) + std::string(size - kFront.size() - 1, 'a') + '"';
  };
  EXPECT_TRUE(PathOffer::parse(offer(512)));
  EXPECT_FALSE(PathOffer::parse(offer(513)));
  EXPECT_FALSE(PathOffer::parse(offer(100'000)));
}

// ---- the header ---------------------------------------------------------------------------------

// One bit of the fields turned, for the price of one of the mask: the check is another one then.
Packet with_header_changed(Packet packet, uint64_t bits) {
  for (size_t i = 0; i < kPathFieldsSize; ++i)
    packet[kPathPrefixSize + i] ^= static_cast<uint8_t>(bits >> (48 - 8 * i));
  return packet;
}
constexpr unsigned kSequenceAt = PathHeader::kSymbolBits + PathHeader::kStampBits;
constexpr unsigned kSymbolAt = PathHeader::kStampBits;

TEST(HostilePackets, copies_with_another_sequence_do_not_move_the_order) {
  for (unsigned bit = 0; bit < PathHeader::kSequenceBits; ++bit) {
    PathPair p;
    for (int i = 0; i < 200; ++i) {
      const Packet packet = p.wrap();
      p.arrive(packet);
      p.arrive(with_header_changed(packet, uint64_t{1} << (kSequenceAt + bit)));
      p.advance(1ms);
    }
    p.advance(500ms);
    EXPECT_EQ(genuine(p), count_up(200)) << bit;
    const auto& bulk = p.receiver.figures().classes[static_cast<size_t>(TrafficClass::Bulk)];
    EXPECT_LE(bulk.lost, 2u) << bit;
  }
}

TEST(HostilePackets, copies_with_another_symbol_do_not_spoil_the_code) {
  for (unsigned bit = 0; bit < PathHeader::kSymbolBits; ++bit) {
    PathPair p;
    p.sender.set_shares({.bulk = 0.5, .bulk_window = 16});
    for (int i = 0; i < 200; ++i) {
      const Packet packet = p.wrap();
      if (i % 20 != 10) {
        p.arrive(packet);
        p.arrive(with_header_changed(packet, uint64_t{1} << (kSymbolAt + bit)));
      }
      p.arrive_all(p.repairs());
      p.advance(1ms);
    }
    p.advance(200ms);
    EXPECT_EQ(genuine(p), count_up(200)) << bit;
    EXPECT_GE(p.receiver.counters().recovered, 9u) << bit;
  }
}

// ---- from the past ------------------------------------------------------------------------------

// Delays are measured of packets that come for the first time.
TEST(HostilePackets, replayed_sources_do_not_change_what_is_measured) {
  PathPair p;
  std::vector<Packet> all;
  for (int i = 0; i < 100; ++i) {
    p.arrive(all.emplace_back(p.wrap()));
    p.advance(1ms);
  }
  const Duration spread = p.receiver.delay_spread(p.now);
  const Duration hold = p.receiver.hold_limit(p.now);
  const uint64_t bytes = p.receiver.figures().received_bytes;
  const uint32_t echo = p.receiver.figures().echo_stamp;
  p.arrive_all(all);
  EXPECT_EQ(p.receiver.delay_spread(p.now), spread);
  EXPECT_EQ(p.receiver.hold_limit(p.now), hold);
  EXPECT_EQ(p.receiver.figures().received_bytes, bytes);
  EXPECT_EQ(p.receiver.figures().echo_stamp, echo);
  EXPECT_EQ(genuine(p), count_up(100));
}

// A source of half a modulus of the stamp ago: 17 s.
TEST(HostilePackets, a_source_of_long_ago_does_not_move_the_clock) {
  PathPair p;
  const Packet old = p.wrap();
  p.arrive(old);
  for (int i = 0; i < 3500; ++i) {
    p.advance(5ms);
    p.arrive(p.wrap());
  }
  p.arrive(old);
  p.arrive(p.wrap());
  EXPECT_LE(p.receiver.delay_spread(p.now), 1ms);
}

// Somebody has what the link lost, and brings it when it counts as lost.
TEST(HostilePackets, lost_packets_that_come_long_after_do_not_move_the_clock) {
  PathPair p;
  std::vector<Packet> lost;
  for (int i = 0; i < 400; ++i) {
    const Packet packet = p.wrap();
    if (i % 10 == 5) {
      lost.push_back(packet);
    } else {
      p.arrive(packet);
    }
    p.advance(1ms);
  }
  p.advance(1s);
  const Duration hold = p.receiver.hold_limit(p.now);
  p.arrive_all(lost);
  p.arrive(p.wrap());
  EXPECT_LE(p.receiver.delay_spread(p.now), 1ms);
  EXPECT_LE(p.receiver.hold_limit(p.now), hold);
  EXPECT_EQ(genuine_unchanged(p), count_up(401));
}

// faults.md G4: the symbols' numbers have wrapped, and an old repair fits the present again.
TEST(HostilePackets, a_repair_of_another_generation_is_not_mixed_in) {
  PathPair p;
  p.sender.set_shares({.bulk = 0.25, .bulk_window = 16});
  std::vector<Packet> old;
  constexpr uint64_t kGeneration = uint64_t{1} << PathHeader::kSymbolBits;
  uint64_t recovered_wanted = 0;
  for (uint64_t i = 0; i < kGeneration + 400; ++i) {
    const Packet packet = p.wrap();
    const bool lost = i > kGeneration && i % 20 == 7;
    if (!lost) p.arrive(packet);
    recovered_wanted += lost ? 1 : 0;
    if (i >= kGeneration) {
      const size_t at = i - kGeneration;
      for (size_t k = at < 8 ? 0 : at - 8; k <= at && k < old.size(); ++k) p.arrive(old[k]);
    }
    for (const Packet& repair : p.repairs()) {
      if (i < 400) old.push_back(repair);
      p.arrive(repair);
    }
    p.now += 1ms;
    p.receiver.on_timeout(p.now, p);
  }
  p.advance(200ms);
  p.arrive_all(p.repairs());
  EXPECT_EQ(p.changed_ones.size(), 0u);
  EXPECT_GE(p.receiver.counters().recovered + 1, recovered_wanted);
  EXPECT_EQ(p.delivered.size(), p.sent);
}

// Repairs are counted by their keys: one of long ago says nothing about the link.
TEST(HostilePackets, replayed_repairs_do_not_look_like_loss) {
  PathPair p;
  p.sender.set_shares({.bulk = 1, .bulk_window = 8});
  SeededRng rng(8);
  std::vector<Packet> repairs;
  uint64_t bytes = 0;
  for (int i = 0; i < 2000; ++i) {
    const Packet source = p.wrap();
    bytes += source.size();
    p.arrive(source);
    for (const Packet& repair : p.repairs()) {
      bytes += repair.size();
      p.arrive(repairs.emplace_back(repair));
    }
    for (int k = 0; k < 3; ++k) p.arrive(repairs[rng.below(repairs.size())]);
    p.advance(1ms);
  }
  p.advance(300ms);
  EXPECT_EQ(p.delivered, count_up(2000));
  EXPECT_EQ(p.receiver.figures().received_bytes, bytes);
  EXPECT_LE(p.receiver.figures().classes[static_cast<size_t>(TrafficClass::Bulk)].lost, 20u);
}

// ---- what makes us send -------------------------------------------------------------------------

// A request that was seen may be answered once: who sends it again gets nothing for it.
TEST(HostilePackets, a_replayed_request_is_not_answered_again) {
  class Nobody : public QuicPacketSink {
    void on_quic_packet(Instant, const PathArrival&, const DatagramOrigin&, MutableBytes) override {
    }
  } nobody;
  const auto keys = [] {
    return PathLayer::Keys{.send = std::make_unique<SumProtection>(),
                           .receive = std::make_unique<SumProtection>()};
  };
  PathLayer layer({.mode = ResilienceMode::Auto}, keys());
  layer.add_connection_id(kQuicId);
  SumProtection peer_keys;
  PathSender peer({.mode = ResilienceMode::Auto}, peer_keys);
  Instant now{10s};
  Packet room(1500);
  // The peer speaks, and reports loss, so that the layer codes and keeps what it sends.
  const auto wrapped = [&](auto&& wrap) {
    const Packet quic = quic_packet(0, 300);
    Packet out(kPathHeaderSize);
    out.insert(out.end(), quic.begin(), quic.end());
    wrap(out, quic.size());
    return out;
  };
  Packet hello =
      wrapped([&](Packet& out, size_t size) { peer.wrap(now, TrafficClass::Bulk, out, size); });
  layer.on_packet(now, {}, hello, nobody);
  const auto message = [&](const PathMessage& what) {
    std::array<uint8_t, kPathMessageMax> plain;
    const size_t size = write_path_message(what, plain);
    Packet out(1500);
    out.resize(peer.write_control(now, Bytes(plain).first(size), out, 9));
    return out;
  };
  for (uint64_t n = 1; n <= 20; ++n) {
    PathReport report{.number = n, .received_bytes = n * 1000, .clock_us = n * 20'000};
    report.classes[0] = {
        .settled = n * 100, .lost = n * 5, .loss_events = n * 5, .recovered = n * 5};
    Packet packet = message(report);
    layer.on_packet(now, {}, packet, nobody);
    for (int i = 0; i < 10; ++i) {
      wrapped([&](Packet& out, size_t size) { layer.wrap(now, TrafficClass::Bulk, out, size); });
      while (layer.poll_transmit(now, room) > 0) {
      }
      now += 10ms;
    }
  }
  const auto resent = [&] { return layer.figures(now).classes[0].resent; };
  PathRequest request{.sequences = {}, .count = PathRequest::kSequencesMax};
  for (size_t i = 0; i < request.count; ++i) request.sequences[i] = 160 + i;
  const Packet captured = message(request);
  for (int i = 0; i < 1000; ++i) {
    Packet again = captured;
    layer.on_packet(now, {}, again, nobody);
    while (layer.poll_transmit(now, room) > 0) {
    }
  }
  EXPECT_GT(resent(), 0u);
  EXPECT_LE(resent(), PathRequest::kSequencesMax);
}

}  // namespace
}  // namespace masque
