// SPDX-License-Identifier: Apache-2.0
// The link's distributions. Each test has a seed of its own; bounds are at least four standard
// deviations wide, so that another seed would pass as well.
#include "sim/link.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "sim/link_plan.h"
#include "sim/link_profiles.h"

namespace masque {
namespace {

constexpr Instant kStart = instant_from_ns(1'000'000'000'000);
constexpr size_t kPacket = 1250;  // 10,000 bits

struct Sent {
  Instant at;
  std::optional<Instant> delivered;  // the first copy
  size_t copies = 0;
  size_t corrupted = 0;
};

std::vector<Sent> send(Link& link, size_t count, Duration interval, Instant start = kStart) {
  std::vector<Sent> all;
  for (size_t i = 0; i < count; ++i) {
    Sent sent{.at = start + static_cast<int64_t>(i) * interval};
    for (const Link::Delivery& delivery : link.on_packet(sent.at, kPacket)) {
      if (!sent.delivered) sent.delivered = delivery.at;
      ++sent.copies;
      sent.corrupted += delivery.content == Link::Delivery::Content::Corrupted ? 1U : 0U;
    }
    all.push_back(sent);
  }
  return all;
}

size_t lost(const std::vector<Sent>& all) {
  return static_cast<size_t>(
      std::ranges::count_if(all, [](const Sent& sent) { return !sent.delivered; }));
}

TEST(Link, independent_loss_has_its_share) {
  SeededRng rng(1);
  Link link({.delay = 1ms, .loss_ppm = 20'000}, rng);
  const auto all = send(link, 100'000, 10us);
  EXPECT_NEAR(static_cast<double>(lost(all)), 2000, 4 * std::sqrt(2000 * 0.98));
  EXPECT_EQ(link.counters().lost, lost(all));
  EXPECT_EQ(link.counters().delivered, 100'000 - lost(all));
}

TEST(Link, bursts_have_their_mean_and_share) {
  for (const uint32_t mean : {1U, 3U, 8U}) {
    SeededRng rng(2);
    LinkOptions options{.delay = 1ms, .burst_leave_ppm = kPpm / mean};
    options.burst_enter_ppm = burst_enter_ppm(20'000, options.burst_leave_ppm);
    Link link(options, rng);
    constexpr size_t kCount = 400'000;
    const auto all = send(link, kCount, 10us);
    size_t bursts = 0;
    for (size_t i = 1; i < all.size(); ++i) {
      bursts += !all[i].delivered && all[i - 1].delivered ? 1U : 0U;
    }
    const auto gone = static_cast<double>(lost(all));
    EXPECT_NEAR(gone / kCount, 0.02, 0.003) << mean;
    // A burst ends with the first good packet, so that mean 1 is single losses.
    EXPECT_NEAR(gone / static_cast<double>(bursts), mean, 0.1 * mean) << mean;
    EXPECT_EQ(link.counters().burst_lost, lost(all));
  }
}

TEST(Link, jitter_is_even_and_bounded) {
  SeededRng rng(3);
  Link link({.delay = 10ms, .jitter = 30ms, .order = LinkOptions::Order::Free}, rng);
  double sum = 0;
  Duration least = 1h;
  Duration most{};
  const auto all = send(link, 20'000, 100us);
  for (const Sent& sent : all) {
    const Duration delay = *sent.delivered - sent.at;
    least = std::min(least, delay);
    most = std::max(most, delay);
    sum += std::chrono::duration<double, std::milli>(delay).count();
  }
  EXPECT_GE(least, 10ms);
  EXPECT_LE(most, 40ms);
  EXPECT_LT(least, 10100us);
  EXPECT_GT(most, 39900us);
  EXPECT_NEAR(sum / 20'000, 25, 0.3);  // sigma of the mean: 30 / sqrt(12 * 20,000) = 0.06
}

TEST(Link, order_is_kept_or_free) {
  for (const auto order : {LinkOptions::Order::Kept, LinkOptions::Order::Free}) {
    SeededRng rng(4);
    Link link({.delay = 10ms, .jitter = 30ms, .order = order}, rng);
    const auto all = send(link, 5'000, 1ms);
    size_t overtaken = 0;
    Instant last{};
    for (const Sent& sent : all) {
      overtaken += *sent.delivered < last ? 1U : 0U;
      last = std::max(last, *sent.delivered);
      EXPECT_LE(*sent.delivered - sent.at, 40ms);
    }
    EXPECT_EQ(overtaken, link.counters().reordered);
    if (order == LinkOptions::Order::Kept) {
      EXPECT_EQ(overtaken, 0u);
    } else {
      EXPECT_GT(overtaken, 1'000u);
    }
  }
}

TEST(Link, delay_walks_within_its_width) {
  SeededRng rng(5);
  Link link({.delay = 25ms,
             .walk_width = 50ms,
             .walk_start = 25ms,
             .walk_step = 2ms,
             .walk_interval = 10ms},
            LinkRandom{.loss = rng, .walk = rng, .jitter = rng, .content = rng}, kStart);
  const auto all = send(link, 60'000, 10ms);  // ten minutes
  EXPECT_NEAR(static_cast<double>((*all[0].delivered - all[0].at).count()), 50e6, 2e6);
  Duration least = 1h;
  Duration most{};
  for (size_t i = 0; i < all.size(); ++i) {
    const Duration delay = *all[i].delivered - all[i].at;
    least = std::min(least, delay);
    most = std::max(most, delay);
    if (i > 0) {
      const Duration before = *all[i - 1].delivered - all[i - 1].at;
      ASSERT_LE(delay - before, 2ms);
      ASSERT_LE(before - delay, 2ms);
    }
  }
  EXPECT_EQ(least, 25ms);
  EXPECT_EQ(most, 75ms);
}

TEST(Link, rate_serialises) {
  SeededRng rng(6);
  // 10 Mbit/s carries a packet of 10,000 bits in a millisecond.
  Link link({.rate_bits_per_second = 10'000'000, .queue_bytes_max = 100 * kPacket, .delay = 5ms},
            rng);
  const auto all = send(link, 50, Duration::zero());
  for (size_t i = 0; i < all.size(); ++i) {
    EXPECT_EQ(*all[i].delivered - kStart, 5ms + std::chrono::milliseconds(i + 1));
  }
  EXPECT_EQ(link.counters().wait_max, 50ms);
  EXPECT_EQ(link.queued_bytes(kStart + 20ms), 30 * kPacket);
}

TEST(Link, queue_in_bytes_and_in_time_drops_its_tail) {
  for (const LinkOptions& options :
       {LinkOptions{.rate_bits_per_second = 10'000'000, .queue_bytes_max = 20 * kPacket},
        LinkOptions{.rate_bits_per_second = 10'000'000, .queue_time_max = 20ms}}) {
    SeededRng rng(7);
    Link link(options, rng);
    const auto all = send(link, 21, Duration::zero());
    EXPECT_EQ(lost(all), 1u);
    EXPECT_FALSE(all.back().delivered);
    EXPECT_EQ(link.counters().queue_dropped, 1u);
    // One leaves, one may come.
    EXPECT_EQ(link.on_packet(kStart + 1ms, kPacket).size(), 1u);
    EXPECT_EQ(link.on_packet(kStart + 1ms, kPacket).size(), 0u);
  }
}

TEST(Link, overload_gets_the_rate) {
  SeededRng rng(8);
  Link link({.rate_bits_per_second = 50'000'000, .queue_time_max = 100ms}, rng);
  const auto all = send(link, 40'000, 100us);  // 100 Mbit/s for four seconds
  const auto through = static_cast<double>(40'000 - lost(all));
  EXPECT_NEAR(through, (4.0 + 0.1) * 5'000, 2);
  for (const Sent& sent : all) {
    if (!sent.delivered) continue;
    EXPECT_LE(*sent.delivered - sent.at, 100ms + 10ms);
  }
}

TEST(Link, policer_passes_burst_and_rate_without_delay) {
  SeededRng rng(9);
  Link link({.delay = 3ms, .police_bits_per_second = 10'000'000, .police_burst_bytes = 8 * kPacket},
            rng);
  const auto burst = send(link, 12, Duration::zero());
  EXPECT_EQ(lost(burst), 4u);
  for (size_t i = 0; i < 8; ++i) EXPECT_EQ(*burst[i].delivered - kStart, 3ms);
  // Four times the rate for four seconds: a quarter passes.
  const auto all = send(link, 16'000, 250us, kStart + 1s);
  EXPECT_NEAR(static_cast<double>(16'000 - lost(all)), 4'008, 2);
  EXPECT_EQ(link.counters().policed, lost(all) + 4);
}

TEST(Link, copies_and_damage_have_their_share) {
  SeededRng rng(10);
  Link link({.duplicate_ppm = 100'000, .duplicate_delay = 2ms, .corrupt_ppm = 50'000}, rng);
  size_t copies = 0;
  size_t corrupted = 0;
  for (const Sent& sent : send(link, 50'000, 100us)) {
    copies += sent.copies - 1;
    corrupted += sent.corrupted;
  }
  EXPECT_NEAR(static_cast<double>(copies), 5'000, 4 * 67);
  EXPECT_NEAR(static_cast<double>(corrupted), 2'750, 4 * 52);
  EXPECT_EQ(link.counters().duplicated, copies);
  EXPECT_EQ(link.counters().corrupted, corrupted);
}

TEST(Link, mtu_and_blackhole_swallow) {
  SeededRng rng(11);
  Link link({.mtu = 1400}, rng);
  EXPECT_EQ(link.on_packet(kStart, 1400).size(), 1u);
  EXPECT_EQ(link.on_packet(kStart, 1401).size(), 0u);
  link.set_path(LinkOptions::Path::Blackhole);
  EXPECT_EQ(link.on_packet(kStart, 100).size(), 0u);
  EXPECT_EQ(link.counters().too_big, 1u);
  EXPECT_EQ(link.counters().swallowed, 1u);
}

}  // namespace
}  // namespace masque
