// SPDX-License-Identifier: Apache-2.0
#include "service/watch/sparkline.h"

#include <gtest/gtest.h>

#include <limits>
#include <vector>

namespace masque {
namespace {

using Values = std::vector<std::optional<double>>;

TEST(Sparkline, has_a_bar_for_each_value) {
  const Values values = {0, 1, 2, 3, 4, 5, 6, 7};
  EXPECT_EQ(sparkline(values, 7, Charset::Unicode), "▁▂▃▄▅▆▇█");
  EXPECT_EQ(sparkline(values, 7, Charset::Ascii), "_.:-=+*#");
}

TEST(Sparkline, leaves_out_what_is_missing_and_shows_what_is_small) {
  EXPECT_EQ(sparkline(Values{std::nullopt, 0, 0.001, 100}, 100, Charset::Ascii), " _.#");
  EXPECT_EQ(sparkline(Values{}, 1, Charset::Unicode), "");
}

TEST(Sparkline, takes_any_number) {
  constexpr double kNothing = std::numeric_limits<double>::quiet_NaN();
  EXPECT_EQ(sparkline(Values{-1, kNothing, 5, 1e300}, 2, Charset::Ascii), "__##");
  EXPECT_EQ(sparkline(Values{1, 2}, 0, Charset::Ascii), "__");
  EXPECT_EQ(sparkline(Values{1, 2}, kNothing, Charset::Ascii), "__");
}

}  // namespace
}  // namespace masque
