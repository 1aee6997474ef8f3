// SPDX-License-Identifier: Apache-2.0
#include "core/tunnel/address_book.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/tunnel/test_packets.h"

namespace masque {
namespace {

using test::net;
using test::nets;
using testing::ElementsAre;
using Change = AddressBook::Change;

AddressAssign assign(const std::vector<std::pair<uint64_t, std::string_view>>& entries) {
  AddressAssign capsule;
  for (const auto& [id, prefix] : entries) {
    capsule.addresses.push_back({.request_id = RequestId(id), .prefix = net(prefix)});
  }
  return capsule;
}
AddressRequest request(const std::vector<std::pair<uint64_t, std::string_view>>& entries) {
  AddressRequest capsule;
  for (const auto& [id, prefix] : entries) {
    capsule.addresses.push_back({.request_id = RequestId(id), .prefix = net(prefix)});
  }
  return capsule;
}

// proves: A1
TEST(AddressBook, rfc9484_4_7_1_each_assign_is_the_complete_list) {
  AddressBook book;
  EXPECT_EQ(book.on_address_assign(assign({{0, "10.8.0.2/32"}, {0, "fd00::2/128"}})),
            Change::Changed);
  EXPECT_EQ(book.ours(), nets({"10.8.0.2/32", "fd00::2/128"}));
  EXPECT_EQ(book.on_address_assign(assign({{0, "fd00::2/128"}})), Change::Changed);
  EXPECT_EQ(book.ours(), nets({"fd00::2/128"}));
  EXPECT_EQ(book.on_address_assign(assign({})), Change::Changed);
  EXPECT_TRUE(book.ours().empty());
}

// proves: A7
TEST(AddressBook, the_same_list_with_other_ids_is_no_change) {
  AddressBook book;
  book.on_address_assign(assign({{0, "10.8.0.2/32"}}));
  EXPECT_EQ(book.on_address_assign(assign({{1, "10.8.0.2/32"}, {2, "10.8.0.2/32"}})), Change::None);
}

// proves: R1
TEST(AddressBook, rfc9484_4_7_2_our_request_ids_are_fresh_and_not_zero) {
  AddressBook book;
  const auto wanted = nets({"0.0.0.0/32", "::/128"});
  const auto first = book.make_request(wanted);
  const auto second = book.make_request(wanted);
  EXPECT_EQ(first.addresses[0].request_id, RequestId(1));
  EXPECT_EQ(first.addresses[1].request_id, RequestId(2));
  EXPECT_EQ(second.addresses[0].request_id, RequestId(3));
}

// proves: R5
TEST(AddressBook, rfc9484_4_7_2_a_denial_is_never_an_address) {
  AddressBook book;
  book.make_request(nets({"0.0.0.0/32", "::/128"}));
  book.on_address_assign(assign({{1, "10.8.0.2/32"}, {2, "::/128"}}));
  EXPECT_EQ(book.ours(), nets({"10.8.0.2/32"}));
  EXPECT_THAT(book.denied(), ElementsAre(IpVersion::V6));
  EXPECT_EQ(book.requests_open(), 0u);
}

// proves: R5
TEST(AddressBook, a_denial_that_answers_no_request_is_passed_over) {
  AddressBook book;
  EXPECT_EQ(book.on_address_assign(assign({{0, "0.0.0.0/32"}, {9, "::/128"}})), Change::None);
  EXPECT_TRUE(book.ours().empty());
  EXPECT_TRUE(book.denied().empty());
}

// proves: R6
TEST(AddressBook, rfc9484_4_7_2_an_assignment_without_request_heals_a_denial) {
  AddressBook book;
  book.make_request(nets({"::/128"}));
  book.on_address_assign(assign({{1, "::/128"}}));
  book.on_address_assign(assign({{0, "fd00::2/128"}}));
  EXPECT_TRUE(book.denied().empty());
}

TEST(AddressBook, faults_c5_prefixes_that_nobody_can_have_are_refused) {
  AddressBook book;
  EXPECT_EQ(book.on_address_assign(assign({{0, "0.0.0.0/0"},
                                           {0, "128.0.0.0/1"},
                                           {0, "127.0.0.1/32"},
                                           {0, "224.0.0.1/32"},
                                           {0, "169.254.0.1/32"},
                                           {0, "::/0"},
                                           {0, "::1/128"},
                                           {0, "fe80::1/128"},
                                           {0, "ff02::1/128"}})),
            Change::None);
  EXPECT_TRUE(book.ours().empty());
  EXPECT_EQ(book.refused(), 9u);
}

// proves: R3, R4, A2
TEST(AddressBook, rfc9484_4_7_2_a_request_is_answered_with_its_id) {
  AddressBook book;
  book.assign(nets({"10.8.0.2/32"}));
  ASSERT_TRUE(book.on_address_request(request({{7, "0.0.0.0/32"}})));
  EXPECT_EQ(book.assign(nets({"10.8.0.2/32"})), assign({{7, "10.8.0.2/32"}}));
  // The ID stays with the address in later complete lists.
  EXPECT_EQ(book.assign(nets({"10.8.0.2/32", "fd00::2/128"})),
            assign({{7, "10.8.0.2/32"}, {0, "fd00::2/128"}}));
}

// proves: R4, R5
TEST(AddressBook, rfc9484_4_7_2_what_we_do_not_have_is_denied_once) {
  AddressBook book;
  ASSERT_TRUE(
      book.on_address_request(request({{1, "0.0.0.0/32"}, {2, "::/128"}, {3, "0.0.0.0/32"}})));
  EXPECT_EQ(book.assign(nets({"10.8.0.2/32"})),
            assign({{1, "10.8.0.2/32"}, {2, "::/128"}, {3, "0.0.0.0/32"}}));
  EXPECT_EQ(book.assign(nets({"10.8.0.2/32"})), assign({{1, "10.8.0.2/32"}}));
}

TEST(AddressBook, a_request_gets_the_prefix_it_names) {
  AddressBook book;
  ASSERT_TRUE(book.on_address_request(request({{1, "0.0.0.0/32"}, {2, "10.8.0.2/32"}})));
  EXPECT_EQ(book.assign(nets({"10.8.0.2/32", "10.8.0.3/32"})),
            assign({{2, "10.8.0.2/32"}, {1, "10.8.0.3/32"}}));
}

// proves: R1
TEST(AddressBook, rfc9484_4_7_2_the_peers_ids_may_not_come_twice) {
  AddressBook book;
  ASSERT_TRUE(book.on_address_request(request({{1, "0.0.0.0/32"}})));
  const auto again = book.on_address_request(request({{1, "::/128"}}));
  ASSERT_FALSE(again);
  EXPECT_EQ(again.error(), WireError::ReusedRequestId);
}

TEST(AddressBook, requests_that_nobody_answers_are_bounded) {
  AddressBook book;
  uint64_t id = 1;
  bool refused = false;
  for (int i = 0; i < 8 && !refused; ++i) {
    std::vector<std::pair<uint64_t, std::string_view>> entries;
    for (size_t n = 0; n < kRequestedAddressesMax; ++n) entries.emplace_back(id++, "0.0.0.0/32");
    refused = !book.on_address_request(request(entries));
  }
  EXPECT_TRUE(refused);
  EXPECT_LE(book.pending().size(), kAssignedAddressesMax);
}

}  // namespace
}  // namespace masque
