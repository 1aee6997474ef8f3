// SPDX-License-Identifier: Apache-2.0
// What the sliding-window code costs: CPU seconds for a gigabyte of source packets, encoding and
// decoding apart, over traces with 2 % independent loss and reordering by a random delay. One line
// a trace. Run it on an idle machine; the best of three runs counts.
#include <time.h>

#include <algorithm>
#include <cstdio>
#include <string>
#include <vector>

#include "base/rng.h"
#include "core/fec/erasure_decoder.h"
#include "core/fec/erasure_encoder.h"
#include "core/fec/gf256.h"

namespace masque {
namespace {

constexpr size_t kPacketSize = 1400;
constexpr size_t kPackets = 60'000;
constexpr size_t kPool = 64;  // different packets: as in life, they are in the cache

struct Trace {
  const char* name;
  double packets_per_second;
  double delay_seconds;  // uniform from 0
  size_t receive_window;
  size_t send_window = 255;
  size_t every = 10;  // sources for each repair
  size_t loss_percent = 2;
  uint32_t patience = 0;  // packets that a source may be late before it counts as lost
};

double cpu_seconds() {
  timespec t{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
  return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_nsec) * 1e-9;
}

struct Arrival {
  double at = 0;
  uint32_t esi = 0;   // of the source, or
  size_t repair = 0;  // number of the repair + 1
};

class Run {
 public:
  explicit Run(const Trace& trace) : trace_(trace) {
    for (size_t i = 0; i < kPool; ++i) rng_.fill(pool_.emplace_back(kPacketSize));
  }

  double encode() {
    ids_.clear();
    repairs_.resize(kPackets / trace_.every * kPacketSize);
    ErasureEncoder encoder(kPacketSize, trace_.send_window);
    const double start = cpu_seconds();
    for (uint32_t i = 0; i < kPackets; ++i) {
      const Bytes packet = pool_[i % kPool];
      encoder.add(packet.first(2), packet.subspan(2));
      if (i % trace_.every != trace_.every - 1) continue;
      const MutableBytes out =
          MutableBytes(repairs_).subspan(ids_.size() * kPacketSize, kPacketSize);
      encoder.make_repair(ids_.emplace_back(encoder.sliding(trace_.send_window)), out);
    }
    return cpu_seconds() - start;
  }

  void send() {
    arrivals_.clear();
    lost_ = 0;
    for (uint32_t i = 0; i < kPackets; ++i) {
      const double now = i / trace_.packets_per_second;
      transmit({.at = now, .esi = i, .repair = 0});
      if (i % trace_.every == trace_.every - 1)
        transmit({.at = now, .esi = 0, .repair = i / trace_.every + 1});
    }
    std::ranges::stable_sort(arrivals_, {}, &Arrival::at);
  }

  double decode() {
    ErasureDecoder decoder(kPacketSize, trace_.receive_window, 256);
    uint32_t newest = 0;
    const double start = cpu_seconds();
    for (const Arrival& arrival : arrivals_) {
      if (arrival.repair != 0) {
        const size_t number = arrival.repair - 1;
        decoder.add_repair(ids_[number],
                           Bytes(repairs_).subspan(number * kPacketSize, kPacketSize));
      } else {
        const Bytes packet = pool_[arrival.esi % kPool];
        decoder.add_source(arrival.esi, packet.first(2), packet.subspan(2));
        if (trace_.patience > 0) {
          while (decoder.poll_recovered()) {
          }
          newest = std::max(newest, arrival.esi);
          if (newest > trace_.patience) decoder.expect_from(newest + 1 - trace_.patience);
        }
      }
      while (decoder.poll_recovered()) {
      }
    }
    const double used = cpu_seconds() - start;
    counters_ = decoder.counters();
    return used;
  }

  size_t lost() const { return lost_; }
  const ErasureDecoder::Counters& counters() const { return counters_; }

 private:
  void transmit(Arrival arrival) {
    if (rng_.below(100) < trace_.loss_percent) {
      lost_ += arrival.repair == 0 ? 1 : 0;
      return;
    }
    arrival.at += trace_.delay_seconds * static_cast<double>(rng_.below(1'000'000)) * 1e-6;
    arrivals_.push_back(arrival);
  }

  const Trace& trace_;
  SeededRng rng_{1};
  std::vector<std::vector<uint8_t>> pool_;
  std::vector<RepairId> ids_;
  std::vector<uint8_t> repairs_;
  std::vector<Arrival> arrivals_;
  size_t lost_ = 0;
  ErasureDecoder::Counters counters_;
};

void measure(const Trace& trace) {
  Run run(trace);
  double encode = 1e9, decode = 1e9;
  for (int i = 0; i < 3; ++i) {
    encode = std::min(encode, run.encode());
    run.send();
    decode = std::min(decode, run.decode());
  }
  constexpr double kGigabytes = double{kPackets} * kPacketSize / 1e9;
  const auto& c = run.counters();
  std::printf(
      "%-41s encode %.3f decode %.3f s/GB; lost %zu recovered %zu unneeded %zu used %zu "
      "given up %zu evicted %zu\n",
      trace.name, encode / kGigabytes, decode / kGigabytes, run.lost(), size_t{c.recovered},
      size_t{c.unneeded}, size_t{c.used}, size_t{c.given_up}, size_t{c.evicted});
}

// A peer that sends whatever costs us most of what we could think of: overlapping windows of all
// codes with few sources. Per packet of its, mean and worst.
void measure_hostile() {
  SeededRng rng(7);
  std::vector<uint8_t> symbol(kPacketSize);
  rng.fill(symbol);
  for (const size_t spread : {6u, 30u, 255u}) {
    ErasureDecoder decoder(kPacketSize, 2048, 256);
    double worst = 0;
    const double start = cpu_seconds();
    for (uint32_t i = 0; i < kPackets; ++i) {
      const double before = cpu_seconds();
      const uint32_t near = i / 8 + static_cast<uint32_t>(rng.below(2 * spread));
      if (rng.below(8) == 0) {
        decoder.add_source(near, symbol, {});
      } else {
        decoder.add_repair(
            {.code = rng.below(2) == 0 ? ErasureCode::Xor : ErasureCode::SlidingWindow,
             .first = near,
             .count = static_cast<uint8_t>(1 + rng.below(spread)),
             .key = 0},
            symbol);
      }
      worst = std::max(worst, cpu_seconds() - before);
    }
    const double used = cpu_seconds() - start;
    const auto& c = decoder.counters();
    std::printf(
        "hostile, windows up to %-3zu mean %.2f us worst %.0f us a packet; recovered %zu "
        "useless %zu evicted %zu postponed %zu\n",
        spread, used * 1e6 / kPackets, worst * 1e6, size_t{c.recovered}, size_t{c.useless},
        size_t{c.evicted}, size_t{c.postponed});
  }
}

}  // namespace
}  // namespace masque

int main() {
  using masque::Trace;
  const std::string kernel(masque::gf256::to_string(masque::gf256::best_kernel()));
  std::printf("kernel: %s\n", kernel.c_str());
  const Trace traces[] = {
      {.name = "in order, 2 %",
       .packets_per_second = 4000,
       .delay_seconds = 0,
       .receive_window = 512},
      {.name = "in order, no loss",
       .packets_per_second = 4000,
       .delay_seconds = 0,
       .receive_window = 512,
       .loss_percent = 0},
      {.name = "4,000/s, 30 ms, 2 %",
       .packets_per_second = 4000,
       .delay_seconds = 0.03,
       .receive_window = 512},
      {.name = "40,000/s, 30 ms, 2 %, keeps 512",
       .packets_per_second = 40000,
       .delay_seconds = 0.03,
       .receive_window = 512},
      {.name = "40,000/s, 30 ms, 2 %, keeps 2048",
       .packets_per_second = 40000,
       .delay_seconds = 0.03,
       .receive_window = 2048},
      {.name = "4,000/s, 30 ms, 2 %, patient",
       .packets_per_second = 4000,
       .delay_seconds = 0.03,
       .receive_window = 512,
       .patience = 120},
      {.name = "40,000/s, 30 ms, 2 %, patient",
       .packets_per_second = 40000,
       .delay_seconds = 0.03,
       .receive_window = 2048,
       .patience = 1200},
      {.name = "4,000/s, 30 ms, 2 %, patient, window 128",
       .packets_per_second = 4000,
       .delay_seconds = 0.03,
       .receive_window = 512,
       .send_window = 128,
       .patience = 120},
      {.name = "4,000/s, 30 ms, 2 %, window 64",
       .packets_per_second = 4000,
       .delay_seconds = 0.03,
       .receive_window = 512,
       .send_window = 64},
  };
  for (const Trace& trace : traces) masque::measure(trace);
  masque::measure_hostile();
}
