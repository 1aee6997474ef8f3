// SPDX-License-Identifier: Apache-2.0
#include "core/quic/address_credit.h"

#include <gtest/gtest.h>

namespace masque {
namespace {

TEST(AddressCredit, rfc9000_8_1_three_times_what_came_with_copies) {
  AddressCredit credit;
  EXPECT_FALSE(credit.covers_copy(1));
  credit.on_received(1200);
  credit.on_sent(1200);
  EXPECT_TRUE(credit.covers_copy(1200));
  credit.on_copy_sent(1200);
  EXPECT_TRUE(credit.covers_copy(1200));
  EXPECT_FALSE(credit.covers_copy(1201));
  EXPECT_EQ(credit.limit(1452), 1200u);
  credit.on_sent(1);
  EXPECT_EQ(credit.limit(1452), 0u);
  credit.on_sent(5000);
  EXPECT_EQ(credit.limit(1452), 0u);
}

TEST(AddressCredit, without_copies_the_librarys_account_is_enough) {
  AddressCredit credit;
  credit.on_received(1200);
  credit.on_sent(3000);
  EXPECT_EQ(credit.limit(1452), 1452u);
}

TEST(AddressCredit, a_flight_that_needs_it_all_is_not_copied) {
  AddressCredit credit;
  credit.on_received(1200);
  credit.on_sent(1800);
  EXPECT_TRUE(credit.covers_copy(100));
  credit.on_sent(1);
  EXPECT_FALSE(credit.covers_copy(100));
}

}  // namespace
}  // namespace masque
