// SPDX-License-Identifier: Apache-2.0
#include "service/store/server_keys.h"

#include <gtest/gtest.h>

#include "service/testing/temporary.h"

namespace masque {
namespace {

using testing::Temporary;

TEST(ServerKeysTest, are_made_once_and_kept) {
  const Temporary dir;
  SeededRng rng(1);
  const auto first = ServerKeys::load_or_create(dir.file("server.keys"), rng);
  ASSERT_TRUE(first);
  EXPECT_NE(first->stateless_reset, ServerKeys::Key{});
  EXPECT_EQ(read_text_file(dir.file("server.keys"))->mode, 0600u);
  const auto again = ServerKeys::load_or_create(dir.file("server.keys"), rng);
  EXPECT_EQ(again->stateless_reset, first->stateless_reset);
}

TEST(ServerKeysTest, those_of_an_earlier_version_are_taken) {
  const Temporary dir;
  SeededRng rng(1);
  const auto first = ServerKeys::load_or_create(dir.file("server.keys"), rng);
  const std::string others = "address_token = " + std::string(64, 'a') +
                             "\nsession_ticket = " + std::string(64, 'b') + "\n";
  const std::string earlier = dir.read("server.keys") + others;
  dir.write("server.keys", earlier);
  EXPECT_EQ(ServerKeys::load_or_create(dir.file("server.keys"), rng)->stateless_reset,
            first->stateless_reset);
  EXPECT_EQ(dir.read("server.keys"), earlier);
  dir.write("server.keys", earlier.substr(0, earlier.size() - 1));
  EXPECT_NE(ServerKeys::load_or_create(dir.file("server.keys"), rng)->stateless_reset,
            first->stateless_reset);
}

// faults.md A3: truncated at every length, or with a byte changed, new keys come and nothing
// crashes.
TEST(ServerKeysTest, a_damaged_file_is_replaced) {
  const Temporary dir;
  SeededRng rng(1);
  const auto first = ServerKeys::load_or_create(dir.file("server.keys"), rng);
  const std::string whole = dir.read("server.keys");
  for (size_t size = 0; size < whole.size(); ++size) {
    dir.write("server.keys", whole.substr(0, size));
    const auto replaced = ServerKeys::load_or_create(dir.file("server.keys"), rng);
    ASSERT_TRUE(replaced);
    EXPECT_NE(replaced->stateless_reset, first->stateless_reset);
  }
  for (size_t i = 0; i < whole.size(); ++i) {
    std::string damaged = whole;
    damaged[i] = 'x';
    dir.write("server.keys", damaged);
    ASSERT_TRUE(ServerKeys::load_or_create(dir.file("server.keys"), rng));
    EXPECT_NE(dir.read("server.keys"), damaged) << "byte " << i;
  }
  dir.write("server.keys", whole + "more\n");
  EXPECT_NE(ServerKeys::load_or_create(dir.file("server.keys"), rng)->stateless_reset,
            first->stateless_reset);
}

TEST(ServerKeysTest, keys_that_others_could_read_are_replaced) {
  const Temporary dir;
  SeededRng rng(1);
  const auto first = ServerKeys::load_or_create(dir.file("server.keys"), rng);
  dir.write("server.keys", dir.read("server.keys"), 0644);
  EXPECT_NE(ServerKeys::load_or_create(dir.file("server.keys"), rng)->stateless_reset,
            first->stateless_reset);
  EXPECT_EQ(read_text_file(dir.file("server.keys"))->mode, 0600u);
}

}  // namespace
}  // namespace masque
