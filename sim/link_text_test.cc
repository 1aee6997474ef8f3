// SPDX-License-Identifier: Apache-2.0
#include "sim/link_text.h"

#include <gtest/gtest.h>

namespace masque {
namespace {

TEST(LinkText, values) {
  EXPECT_EQ(parse_duration("25ms"), 25ms);
  EXPECT_EQ(parse_duration("1.5s"), 1500ms);
  EXPECT_EQ(parse_duration("200us"), 200us);
  EXPECT_EQ(parse_duration("2m"), 120s);
  EXPECT_EQ(parse_duration("0"), 0ms);
  EXPECT_EQ(parse_rate("50mbit"), 50'000'000u);
  EXPECT_EQ(parse_rate("2.5gbit"), 2'500'000'000u);
  EXPECT_EQ(parse_rate("300kbit"), 300'000u);
  EXPECT_EQ(parse_rate("64000"), 64'000u);
  EXPECT_EQ(parse_size("64kB"), 64'000u);
  EXPECT_EQ(parse_size("1MiB"), 1'048'576u);
  EXPECT_EQ(parse_share("2%"), 20'000u);
  EXPECT_EQ(parse_share("0.05%"), 500u);
  EXPECT_EQ(parse_share("30ppm"), 30u);
}

TEST(LinkText, refuses) {
  for (const char* text :
       {"", "25", "ms", "-1ms", "1e3ms", "nan", "25 ms", "25h", "25h1", "99999m"}) {
    EXPECT_FALSE(parse_duration(text)) << text;
  }
  for (const char* text : {"", "0", "999", "101gbit", "50mbps", "inf", "-5mbit"}) {
    EXPECT_FALSE(parse_rate(text)) << text;
  }
  for (const char* text : {"", "2", "101%", "-1%", "%"}) EXPECT_FALSE(parse_share(text)) << text;
  for (const char* text : {"", "300MiB", "-1", "1 kB"}) EXPECT_FALSE(parse_size(text)) << text;
}

LinkPlan set(std::initializer_list<std::pair<const char*, const char*>> values) {
  LinkPlan plan{.options = {}, .changes = {}, .outages = {}};
  for (const auto& [key, value] : values) {
    const auto done = find_link_key(key)->set(plan, value);
    EXPECT_TRUE(done.has_value()) << key << ": " << done.error_or("");
  }
  return plan;
}

TEST(LinkText, keys_set_options) {
  const LinkPlan plan = set({{"rate", "50mbit"},
                             {"queue", "100ms"},
                             {"delay", "25ms"},
                             {"walk", "50ms/2ms/20ms"},
                             {"jitter", "30ms"},
                             {"order", "free"},
                             {"loss", "2%"},
                             {"burst", "3:2%"},
                             {"duplicate", "1%"},
                             {"corrupt", "0.1%"},
                             {"mtu", "1400"},
                             {"blackhole", "5s@10s"},
                             {"blackhole", "80ms@12s/15s"},
                             {"police", "10mbit:64kB"}});
  const LinkOptions& options = plan.options;
  EXPECT_EQ(options.rate_bits_per_second, 50'000'000u);
  EXPECT_EQ(options.queue_time_max, 100ms);
  EXPECT_EQ(options.delay, 25ms);
  EXPECT_EQ(options.walk_width, 50ms);
  EXPECT_EQ(options.walk_start, 25ms);
  EXPECT_EQ(options.walk_step, 2ms);
  EXPECT_EQ(options.walk_interval, 20ms);
  EXPECT_EQ(options.jitter, 30ms);
  EXPECT_EQ(options.order, LinkOptions::Order::Free);
  EXPECT_EQ(options.loss_ppm, 20'000u);
  EXPECT_EQ(options.burst_leave_ppm, 333'333u);
  EXPECT_EQ(options.burst_enter_ppm, 6'802u);  // 2 % of a third, by the 98 % good ones
  EXPECT_EQ(options.duplicate_ppm, 10'000u);
  EXPECT_EQ(options.corrupt_ppm, 1'000u);
  EXPECT_EQ(options.mtu, 1400u);
  EXPECT_EQ(options.police_bits_per_second, 10'000'000u);
  EXPECT_EQ(options.police_burst_bytes, 64'000u);
  ASSERT_EQ(plan.outages.size(), 2u);
  EXPECT_EQ(plan.outages[0].length, 5s);
  EXPECT_EQ(plan.outages[0].at, 10s);
  EXPECT_EQ(plan.outages[1].every, 15s);
}

TEST(LinkText, later_values_take_the_place_of_earlier_ones) {
  EXPECT_EQ(set({{"queue", "100ms"}, {"queue", "64kB"}}).options.queue_time_max, 0ms);
  EXPECT_EQ(set({{"rate", "1mbit"}, {"rate", "none"}}).options.rate_bits_per_second, 0u);
  EXPECT_EQ(set({{"burst", "3:2%"}, {"burst", "none"}}).options.burst_enter_ppm, 0u);
  EXPECT_EQ(set({{"police", "1mbit:9kB"}, {"police", "none"}}).options.police_bits_per_second, 0u);
  EXPECT_EQ(set({{"blackhole", "on"}, {"blackhole", "off"}}).options.path, LinkOptions::Path::Open);
}

TEST(LinkText, keys_refuse) {
  for (const auto& [key, value] : std::initializer_list<std::pair<const char*, const char*>>{
           {"rate", "fast"},
           {"queue", "61s"},
           {"delay", "61s"},
           {"walk", "1"},
           {"walk", "5ms/1"},
           {"walk", "5ms/1ms/0"},
           {"order", "no"},
           {"loss", "3"},
           {"burst", "3"},
           {"burst", "0.5:2%"},
           {"burst", "3:60%"},
           {"mtu", "67"},
           {"mtu", "65536"},
           {"blackhole", "5s"},
           {"blackhole", "5s@1s/5s"},
           {"police", "10mbit"},
       }) {
    LinkPlan plan;
    EXPECT_FALSE(find_link_key(key)->set(plan, value)) << key << " " << value;
  }
}

TEST(LinkText, outages_are_bounded) {
  LinkPlan plan;
  const LinkKey* key = find_link_key("blackhole");
  for (int i = 0; i < 64; ++i) EXPECT_TRUE(key->set(plan, "1s@1s"));
  EXPECT_FALSE(key->set(plan, "1s@1s"));
}

}  // namespace
}  // namespace masque
