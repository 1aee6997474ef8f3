// SPDX-License-Identifier: Apache-2.0
#include "core/quic/token_store.h"

#include <gtest/gtest.h>

namespace masque {
namespace {

NetworkPath path(uint32_t local, uint32_t remote, uint16_t local_port = 50'000) {
  return {.local = {.address = IpAddress::v4(local), .port = local_port},
          .remote = {.address = IpAddress::v4(remote), .port = 443}};
}

// proves: V6t
TEST(TokenStore, rfc9000_8_1_3_the_newest_token_is_used_once) {
  TokenStore store;
  EXPECT_EQ(store.take(path(1, 2)), "");
  store.keep(path(1, 2), "first");
  store.keep(path(1, 2), "second");
  store.keep(path(1, 2), "");
  EXPECT_EQ(store.take(path(1, 2, 50'001)), "second") << "a new port proves as much";
  EXPECT_EQ(store.take(path(1, 2)), "");
}

TEST(TokenStore, a_token_belongs_to_both_addresses) {
  TokenStore store;
  store.keep(path(1, 2), "token");
  EXPECT_EQ(store.take(path(3, 2)), "");
  EXPECT_EQ(store.take(path(1, 3)), "");
  NetworkPath other_port = path(1, 2);
  other_port.remote.port = 444;
  EXPECT_EQ(store.take(other_port), "");
  EXPECT_EQ(store.take(path(1, 2)), "token");
}

TEST(TokenStore, tokens_and_paths_have_a_limit) {
  TokenStore store;
  store.keep(path(1, 0), std::string(TokenStore::kTokenMax, 'x'));
  EXPECT_EQ(store.size(), 1u);
  store.keep(path(1, 1), std::string(TokenStore::kTokenMax + 1, 'x'));
  EXPECT_EQ(store.size(), 1u);
  EXPECT_EQ(store.refused(), 1u);
  for (uint32_t i = 1; i < TokenStore::kPathsMax; ++i) store.keep(path(1, i), "token");
  EXPECT_EQ(store.size(), TokenStore::kPathsMax);
  EXPECT_NE(store.take(path(1, 0)), "");
  store.keep(path(1, 0), "newest");
  store.keep(path(1, TokenStore::kPathsMax), "one past the limit");
  EXPECT_EQ(store.size(), TokenStore::kPathsMax);
  EXPECT_EQ(store.take(path(1, 1)), "") << "the oldest has given way";
}

}  // namespace
}  // namespace masque
