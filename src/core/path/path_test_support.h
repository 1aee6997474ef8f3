// SPDX-License-Identifier: Apache-2.0
// A sender and a receiver joined by a link that the test decides about, packet by packet.
#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <set>
#include <vector>

#include "core/path/path_receiver.h"
#include "core/path/path_sender.h"

namespace masque::testing {

// Sums in place of cryptography, as core/quic has them, which this library lies under.
class SumProtection final : public PathProtection {
 public:
  void mask(std::span<const uint8_t, kSampleSize> sample,
            std::span<uint8_t, kMaskSize> out) override {
    uint64_t sum = sum_of(7, sample);
    for (uint8_t& byte : out) {
      sum = sum * 0x9e3779b97f4a7c15 + 1;
      byte = static_cast<uint8_t>(sum >> 56);
    }
  }
  uint32_t check(std::span<const uint8_t, kBlockSize> block) override {
    return static_cast<uint32_t>(sum_of(11, block) >> 40);
  }
  uint64_t tag(Bytes first, Bytes second) override { return sum_of(sum_of(9, first), second); }
  bool seal(Bytes associated, Bytes plain, MutableBytes out) override {
    std::ranges::copy(plain, out.begin());
    const uint64_t sum = tag(associated, plain);
    std::memcpy(out.last(16).data(), &sum, 8);
    std::memcpy(out.last(8).data(), &sum, 8);
    return true;
  }
  bool open(Bytes associated, Bytes sealed, MutableBytes out) override {
    std::ranges::copy(sealed.first(out.size()), out.begin());
    const uint64_t sum = tag(associated, out);
    return std::memcmp(sealed.last(16).data(), &sum, 8) == 0 &&
           std::memcmp(sealed.last(8).data(), &sum, 8) == 0;
  }

 private:
  static uint64_t sum_of(uint64_t sum, Bytes bytes) {
    for (const uint8_t byte : bytes) sum = (sum ^ byte) * 0x100000001b3 + 0x9e37;
    return sum ^ sum >> 31;
  }
};

constexpr PathId kQuicId = {0xc0, 0xc1, 0xc2, 0xc3, 0xc4, 0xc5, 0xc6, 0xc7};
using Packet = std::vector<uint8_t>;

// The number-th QUIC packet of a test: every byte of it says which one it is.
inline Packet quic_packet(uint64_t number, size_t size) {
  Packet out(size);
  out[0] = static_cast<uint8_t>(0x40 | (number & 0x3f));
  std::ranges::copy(kQuicId, out.begin() + 1);
  for (size_t i = kPathPrefixSize; i < size; ++i) {
    out[i] = static_cast<uint8_t>(number * 131 + i * 7 + (number >> (i % 5)));
  }
  store_be32(&out[kPathPrefixSize], static_cast<uint32_t>(number));
  return out;
}

class PathPair : public QuicPacketSink {
 public:
  explicit PathPair(const PathSettings& settings = {.mode = ResilienceMode::Auto})
      : sender(settings, send_keys), receiver(settings, receive_keys) {}

  // A path packet of the next QUIC packet.
  Packet wrap(TrafficClass traffic_class = TrafficClass::Bulk, size_t size = 200) {
    const Packet quic = quic_packet(sent++, size);
    Packet room(size + kPathHeaderSize);
    std::ranges::copy(quic, room.begin() + kPathHeaderSize);
    sender.wrap(now, traffic_class, room, size);
    return room;
  }
  std::vector<Packet> repairs() {
    std::vector<Packet> out;
    for (Packet room(1500);; room.assign(1500, 0)) {
      const size_t size = sender.poll_repair(now, room);
      if (size == 0) return out;
      out.emplace_back(room.begin(), room.begin() + static_cast<ptrdiff_t>(size));
    }
  }
  std::optional<PathMessage> arrive(Packet packet) {
    return receiver.on_packet(now, {}, packet, kQuicId, *this);
  }
  void arrive_all(const std::vector<Packet>& packets) {
    for (const Packet& packet : packets) arrive(packet);
  }
  void advance(Duration time) {
    for (const Instant end = now + time; now < end;) {
      now += 1ms;
      receiver.on_timeout(now, *this);
    }
  }
  void on_quic_packet(Instant, const PathArrival&, const DatagramOrigin& origin,
                      MutableBytes packet) override {
    const uint64_t number = load_be32(packet.data() + kPathPrefixSize);
    delivered.push_back(number);
    origins.push_back(origin);
    if (!std::ranges::equal(packet, quic_packet(number, packet.size()))) {
      changed_ones.insert(delivered.size() - 1);
    }
  }

  Instant now{10s};
  SumProtection send_keys, receive_keys;
  PathSender sender;
  PathReceiver receiver;
  uint64_t sent = 0;
  std::vector<uint64_t> delivered;
  std::vector<DatagramOrigin> origins;
  std::set<size_t> changed_ones;  // of those delivered: not as they were sent
};

}  // namespace masque::testing
