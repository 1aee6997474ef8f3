// SPDX-License-Identifier: Apache-2.0
#include "sim/link_profiles.h"

#include <algorithm>
#include <vector>

namespace masque {

namespace {

constexpr uint64_t kMegabit = 1'000'000;
constexpr size_t kMtuNone = 65'535;  // the interfaces' own MTU is the limit
constexpr uint32_t kPercent = kPpm / 100;
constexpr auto kFree = LinkOptions::Order::Free;

LinkPlan plan(LinkOptions options, std::vector<LinkOutage> outages = {}) {
  options.mtu = kMtuNone;
  return {.options = options, .changes = {}, .outages = std::move(outages)};
}

LinkPlan at_rate(LinkPlan from, uint64_t bits_per_second, Duration queue) {
  from.options.rate_bits_per_second = bits_per_second;
  from.options.queue_time_max = queue;
  return from;
}

LinkOptions bursts(LinkOptions options, uint32_t mean, uint32_t share_ppm) {
  options.burst_leave_ppm = kPpm / mean;
  options.burst_enter_ppm = burst_enter_ppm(share_ppm, options.burst_leave_ppm);
  return options;
}

LinkProfile same_both_ways(std::string_view name, std::string_view summary, const LinkPlan& both) {
  return {.name = name, .summary = summary, .up = both, .down = both};
}

// The link that the resilience of the tunnel is measured by: RTT 50 to 150 ms, jitter up to 30 ms,
// 2 % loss. The base delay crosses its width in some 20 s (steps of at most 2 ms each 10 ms: a
// random walk of about 12 ms per root of a second), as between good and bad cells; 100 ms of queue
// is what mobile schedulers keep for one user when they are not bloated.
LinkOptions mobile() {
  return {.rate_bits_per_second = 50 * kMegabit,
          .queue_time_max = 100ms,
          .delay = 25ms,
          .walk_width = 50ms,
          .walk_start = 25ms,
          .walk_step = 2ms,
          .walk_interval = 10ms,
          .jitter = 30ms};
}

std::vector<LinkProfile> mobile_profiles() {
  LinkOptions lossy = mobile();
  lossy.loss_ppm = 2 * kPercent;
  LinkOptions reordering = lossy;
  reordering.order = kFree;
  return {
      same_both_ways("mobile", "RTT walks 50-150 ms, jitter 0-30 ms, loss 2 %, 50 Mbit/s",
                     plan(lossy)),
      same_both_ways("mobile-reorder", "the same, and the jitter reorders packets",
                     plan(reordering)),
      // Fades last longer than a packet: the same share of losses, three at a time on average.
      same_both_ways("mobile-bursts", "the same in order, the 2 % lost in bursts of mean 3",
                     plan(bursts(mobile(), 3, 2 * kPercent))),
  };
}

std::vector<LinkProfile> cellular_profiles() {
  // HARQ and RLC hide nearly all loss of the radio and keep order; the price is delay in steps of
  // 8 ms a repetition, and an uplink that asks for a grant first. Queues are deep.
  const LinkPlan lte = plan({.delay = 18ms,
                             .walk_width = 15ms,
                             .walk_start = 5ms,
                             .jitter = 8ms,
                             .loss_ppm = kPercent / 10});
  // 5G with its own core: shorter slots, the same repairs.
  const LinkPlan fast =
      plan({.delay = 7ms, .walk_width = 8ms, .jitter = 4ms, .loss_ppm = kPercent / 20});
  // HSPA: transmission intervals of 2 to 10 ms, repetitions over the Iub, a second of buffer.
  const LinkPlan hspa = plan({.delay = 50ms,
                              .walk_width = 60ms,
                              .walk_start = 20ms,
                              .jitter = 20ms,
                              .loss_ppm = kPercent / 5});
  // EDGE: blocks of 20 ms over shared slots.
  const LinkPlan edge = plan({.delay = 200ms,
                              .walk_width = 200ms,
                              .walk_start = 50ms,
                              .walk_step = 10ms,
                              .walk_interval = 50ms,
                              .jitter = 60ms,
                              .loss_ppm = kPercent / 2});
  // A train at speed: cells change, cuttings shade, and a tunnel every 90 s is long enough for
  // every timer there is. The outages of both directions fall together.
  const LinkPlan train =
      plan(bursts({.delay = 25ms,
                   .walk_width = 80ms,
                   .walk_start = 20ms,
                   .walk_step = 4ms,
                   .walk_interval = 10ms,
                   .jitter = 25ms},
                  5, 2 * kPercent),
           {{.at = 15s, .length = 300ms, .every = 20s}, {.at = 40s, .length = 4s, .every = 90s}});
  return {
      {.name = "5g",
       .summary = "200/40 Mbit/s, RTT 14-30 ms, loss 0.05 %",
       .up = at_rate(fast, 40 * kMegabit, 100ms),
       .down = at_rate(fast, 200 * kMegabit, 80ms)},
      {.name = "lte",
       .summary = "40/12 Mbit/s, RTT 36-80 ms, loss 0.1 %, deep queues",
       .up = at_rate(lte, 12 * kMegabit, 300ms),
       .down = at_rate(lte, 40 * kMegabit, 250ms)},
      {.name = "3g",
       .summary = "4/1 Mbit/s, RTT 100-260 ms, loss 0.2 %, a second of queue",
       .up = at_rate(hspa, 1 * kMegabit, 1s),
       .down = at_rate(hspa, 4 * kMegabit, 1s)},
      {.name = "edge",
       .summary = "0.2/0.1 Mbit/s, RTT 400-900 ms, loss 0.5 %",
       .up = at_rate(edge, kMegabit / 10, 2s),
       .down = at_rate(edge, kMegabit / 5, 2s)},
      {.name = "train",
       .summary = "20/8 Mbit/s, RTT 50-260 ms, bursts of 5, gaps of 0.3 s and of 4 s",
       .up = at_rate(train, 8 * kMegabit, 200ms),
       .down = at_rate(train, 20 * kMegabit, 200ms)},
  };
}

std::vector<LinkProfile> wireless_profiles() {
  // Many stations share the air: backoff and aggregation make the delay, collisions short bursts;
  // block acknowledgements keep the order.
  const LinkPlan busy = plan(bursts({.delay = 2ms,
                                     .walk_width = 25ms,
                                     .walk_start = 5ms,
                                     .walk_step = 4ms,
                                     .walk_interval = 20ms,
                                     .jitter = 15ms},
                                    2, kPercent / 2));
  // Shared access behind a policer: packets over the allowance are dropped, not delayed.
  LinkOptions guest = bursts({.rate_bits_per_second = 30 * kMegabit,
                              .queue_time_max = 200ms,
                              .delay = 12ms,
                              .walk_width = 20ms,
                              .walk_start = 5ms,
                              .walk_step = 3ms,
                              .jitter = 12ms},
                             3, kPercent);
  LinkOptions guest_up = guest;
  guest.police_bits_per_second = 8 * kMegabit;
  guest.police_burst_bytes = 192 * 1024;
  guest_up.police_bits_per_second = 4 * kMegabit;
  guest_up.police_burst_bytes = 96 * 1024;
  return {
      {.name = "wifi-busy",
       .summary = "40/20 Mbit/s, RTT 4-54 ms, jitter 15 ms, bursts of 2",
       .up = at_rate(busy, 20 * kMegabit, 150ms),
       .down = at_rate(busy, 40 * kMegabit, 150ms)},
      {.name = "hotel",
       .summary = "policed to 8/4 Mbit/s, RTT 24-64 ms, loss 1 % in bursts of 3",
       .up = plan(guest_up),
       .down = plan(guest)},
  };
}

std::vector<LinkProfile> satellite_profiles() {
  // The satellite changes each 15 s: the delay steps, and for some 80 ms nothing passes.
  const LinkPlan low_orbit = plan(bursts({.delay = 14ms,
                                          .walk_width = 16ms,
                                          .walk_start = 8ms,
                                          .walk_step = 10ms,
                                          .walk_interval = 15s,
                                          .jitter = 6ms},
                                         4, 7 * kPercent / 10),
                                  {{.at = 12s, .length = 80ms, .every = 15s}});
  // 35,786 km up and down again is 240 ms at least, with framing about 280 ms.
  const LinkPlan geostationary =
      plan({.delay = 280ms, .walk_width = 10ms, .jitter = 15ms, .loss_ppm = kPercent * 3 / 10});
  return {
      {.name = "starlink",
       .summary = "150/15 Mbit/s, RTT 28-60 ms, steps and a gap of 80 ms each 15 s",
       .up = at_rate(low_orbit, 15 * kMegabit, 80ms),
       .down = at_rate(low_orbit, 150 * kMegabit, 60ms)},
      {.name = "satellite",
       .summary = "25/5 Mbit/s, RTT 560-610 ms, loss 0.3 %",
       .up = at_rate(geostationary, 5 * kMegabit, 400ms),
       .down = at_rate(geostationary, 25 * kMegabit, 400ms)},
  };
}

std::vector<LinkProfile> wired_profiles() {
  // Interleaving against noise costs 8 ms each way; the modem's queue up is the classic of bloat.
  const LinkPlan dsl = plan({.delay = 10ms, .jitter = 1ms, .loss_ppm = kPercent / 100});
  // DOCSIS: the uplink waits for grants of about 2 ms.
  const LinkPlan cable = plan({.delay = 7ms, .jitter = 3ms, .loss_ppm = kPercent / 100});
  // Another continent behind fibre at both ends.
  const LinkPlan far =
      plan({.delay = 70ms, .walk_width = 5ms, .jitter = 2ms, .loss_ppm = kPercent / 20});
  return {
      {.name = "dsl",
       .summary = "16/1 Mbit/s, RTT 20 ms, half a second of queue up",
       .up = at_rate(dsl, 1 * kMegabit, 500ms),
       .down = at_rate(dsl, 16 * kMegabit, 120ms)},
      {.name = "cable",
       .summary = "250/20 Mbit/s, RTT 14-20 ms",
       .up = at_rate(cable, 20 * kMegabit, 150ms),
       .down = at_rate(cable, 250 * kMegabit, 60ms)},
      same_both_ways("intercontinental", "200 Mbit/s, RTT 140-155 ms, loss 0.05 %",
                     at_rate(far, 200 * kMegabit, 50ms)),
  };
}

std::vector<LinkProfile> make_profiles() {
  std::vector<LinkProfile> all;
  all.push_back(
      same_both_ways("clean", "no delay, no loss, no limit", plan({.delay = Duration::zero()})));
  for (const auto& some : {mobile_profiles(), cellular_profiles(), wireless_profiles(),
                           satellite_profiles(), wired_profiles()}) {
    all.insert(all.end(), some.begin(), some.end());
  }
  // Worse than what people bear: where things must still not break.
  all.push_back(same_both_ways(
      "awful", "3 Mbit/s, RTT 200-500 ms, jitter 60 ms, reordered, loss 10 % in bursts of 6",
      at_rate(plan(bursts({.delay = 100ms,
                           .walk_width = 150ms,
                           .walk_start = 50ms,
                           .walk_step = 5ms,
                           .jitter = 60ms,
                           .order = kFree},
                          6, 10 * kPercent)),
              3 * kMegabit, 300ms)));
  return all;
}

const std::vector<LinkProfile>& all_profiles() {
  static const std::vector<LinkProfile> all = make_profiles();
  return all;
}

}  // namespace

std::span<const LinkProfile> link_profiles() { return all_profiles(); }

const LinkProfile* find_link_profile(std::string_view name) {
  const auto& all = all_profiles();
  const auto found = std::ranges::find(all, name, &LinkProfile::name);
  return found == all.end() ? nullptr : &*found;
}

uint32_t burst_enter_ppm(uint32_t share_ppm, uint32_t leave_ppm) {
  // Of a cycle of 1/enter good and 1/leave lost packets the lost ones are enter / (enter + leave).
  return static_cast<uint32_t>(uint64_t{share_ppm} * leave_ppm / (kPpm - share_ppm));
}

}  // namespace masque
