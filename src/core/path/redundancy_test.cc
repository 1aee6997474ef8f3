// SPDX-License-Identifier: Apache-2.0
#include "core/path/redundancy.h"

#include <gtest/gtest.h>

namespace masque {
namespace {

struct Link {
  // `count` packets of which every `every`-th begins a burst of `burst` lost ones.
  void run(Duration time, uint64_t per_second, uint64_t every, uint64_t burst) {
    for (const Instant end = now + time; now < end; now += 20ms) {
      for (uint64_t i = 0; i < per_second / 50; ++i) {
        ++total.settled;
        if (every == 0 || total.settled % every >= burst) continue;
        ++total.lost;
        if (total.settled % every == 0) ++total.loss_events;
      }
      estimate.on_figures(now, total);
    }
  }
  Instant now{5s};
  PathReport::PerClass total;
  LossEstimate estimate;
};

TEST(LossEstimate, sees_loss_within_a_second) {
  Link link;
  link.run(1s, 2000, 50, 1);
  EXPECT_NEAR(link.estimate.share(), 0.02, 0.004);
  EXPECT_NEAR(link.estimate.mean_burst(), 1, 0.05);
}

TEST(LossEstimate, measures_bursts) {
  Link link;
  link.run(5s, 1000, 100, 3);
  EXPECT_NEAR(link.estimate.share(), 0.03, 0.005);
  EXPECT_NEAR(link.estimate.mean_burst(), 3, 0.15);
}

TEST(LossEstimate, a_clean_link_is_clean_within_two_seconds) {
  Link link;
  link.run(10s, 500, 50, 2);
  EXPECT_GT(link.estimate.share(), 0.03);
  link.run(2s, 500, 0, 0);
  EXPECT_EQ(link.estimate.share(), 0);
}

TEST(LossEstimate, few_packets_are_remembered_longer) {
  Link link;
  link.run(5s, 50, 25, 1);
  link.run(2s, 50, 0, 0);
  EXPECT_GT(link.estimate.share(), 0);
  link.run(10s, 50, 0, 0);
  EXPECT_EQ(link.estimate.share(), 0);
}

// 2 % of a lone call's packets in bursts, one every 2.2 s: so long a silence is no news there.
TEST(LossEstimate, a_silence_between_rare_bursts_is_not_a_clean_link) {
  Link link;
  link.run(8s, 200, 450, 9);
  for (int i = 0; i < 100; ++i) {
    link.run(100ms, 200, 450, 9);
    EXPECT_GT(link.estimate.share(), 0.005);
  }
  link.run(10s, 200, 0, 0);
  EXPECT_EQ(link.estimate.share(), 0);
}

TEST(LossEstimate, expects_loss_until_enough_packets_have_said_otherwise) {
  Link link;
  EXPECT_GT(link.estimate.expected(), 0.05);
  EXPECT_EQ(link.estimate.share(), 0);
  link.run(1s, 100, 0, 0);
  EXPECT_GT(link.estimate.expected(), 0.02);
  link.run(2s, 100, 0, 0);
  EXPECT_EQ(link.estimate.expected(), 0);
}

TEST(LossEstimate, expects_after_a_pause_what_it_saw_before) {
  Link link;
  link.run(5s, 1000, 50, 1);
  link.run(30s, 0, 0, 0);
  EXPECT_NEAR(link.estimate.expected(), 0.02, 0.005);
  link.run(1s, 1000, 0, 0);
  EXPECT_EQ(link.estimate.expected(), 0);
  link.run(30s, 0, 0, 0);
  EXPECT_EQ(link.estimate.expected(), 0);
}

// Half a second in which a queue overflows is overload: it does not call for more code, which would
// only fill the queue further.
TEST(LossEstimate, overload_stands_out_and_does_not_count) {
  Link link;
  link.run(3s, 2000, 50, 1);
  EXPECT_FALSE(link.estimate.overloaded());
  link.run(500ms, 2000, 3, 1);
  EXPECT_TRUE(link.estimate.overloaded());
  EXPECT_LT(link.estimate.share(), 0.03);
  link.run(1s, 2000, 50, 1);
  EXPECT_FALSE(link.estimate.overloaded());
}

TEST(LossEstimate, a_link_that_becomes_worse_is_believed_within_a_second_and_a_half) {
  Link link;
  link.run(3s, 2000, 50, 1);
  link.run(1500ms, 2000, 10, 1);
  EXPECT_GT(link.estimate.share(), 0.08);
  EXPECT_FALSE(link.estimate.overloaded());
}

TEST(LossEstimate, figures_that_go_back_are_taken_as_a_new_beginning) {
  Link link;
  link.run(1s, 1000, 0, 0);
  link.estimate.on_figures(link.now, {});
  link.estimate.on_figures(link.now, {.settled = 10, .lost = 0});
  EXPECT_EQ(link.estimate.share(), 0);
}

// A queue that overflows now and then is no link that loses: the second between says so.
TEST(LossEstimate, overflows_of_a_queue_do_not_count) {
  Link link;
  link.run(3s, 2000, 0, 0);
  for (int i = 0; i < 8; ++i) {
    link.run(200ms, 2000, 3, 1);
    link.run(1s, 2000, 0, 0);
    EXPECT_LT(link.estimate.share(), 0.005) << i;
  }
}

struct Worth {
  // Every half second 100 are lost and so many of them brought back.
  void run(Duration time, uint64_t recovered_of_100) {
    for (const Instant end = now + time; now < end; now += 500ms) {
      worth.on_figures(now, total);
      total.lost += 100;
      total.recovered += recovered_of_100;
    }
  }
  Instant now{5s};
  PathReport::PerClass total;
  RepairWorth worth;
};

TEST(RepairWorth, repairs_that_repair_go_on) {
  Worth its;
  for (int i = 0; i < 40; ++i) {
    its.run(500ms, 50);
    EXPECT_FALSE(its.worth.paused(its.now));
  }
}

TEST(RepairWorth, a_short_overflow_does_not_stop_them) {
  Worth its;
  for (int i = 0; i < 10; ++i) {
    its.run(1s, 5);
    EXPECT_FALSE(its.worth.paused(its.now));
    its.run(2s, 95);
    EXPECT_FALSE(its.worth.paused(its.now));
  }
}

TEST(RepairWorth, a_lasting_one_does_ever_longer) {
  Worth its;
  its.run(2s, 5);
  EXPECT_TRUE(its.worth.paused(its.now - 1ms));
  int paused = 0;
  for (int i = 0; i < 40; ++i) {
    its.run(500ms, 5);
    paused += its.worth.paused(its.now - 1ms) ? 1 : 0;
  }
  EXPECT_GT(paused, 20);
  its.run(12s, 95);
  EXPECT_FALSE(its.worth.paused(its.now));
}

TEST(BulkRepairShare, is_nothing_on_a_clean_link_and_grows_with_loss_and_bursts) {
  EXPECT_EQ(bulk_repair_share(0, 1, 100), 0);
  const double light = bulk_repair_share(0.01, 1, 100);
  EXPECT_GT(light, 0.01);
  EXPECT_LT(light, bulk_repair_share(0.02, 1, 100));
  EXPECT_LT(light, bulk_repair_share(0.01, 3, 100));
  EXPECT_LT(bulk_repair_share(0.01, 1, 200), light);
  EXPECT_NEAR(bulk_repair_share(0.02, 1, 128), 0.0625, 0.001);  // (p + 3.3 sqrt(p / W)) / (1 - p)
  EXPECT_EQ(bulk_repair_share(1, 50, 4), 1);
}

}  // namespace
}  // namespace masque
