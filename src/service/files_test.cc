// SPDX-License-Identifier: Apache-2.0
#include "service/files.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cerrno>

#include "service/testing/temporary.h"

namespace masque {
namespace {

using testing::Temporary;

TEST(Files, reads_up_to_the_limit_and_no_further) {
  const Temporary dir;
  EXPECT_EQ(read_text_file(dir.write("full", std::string(kFileBytesMax, 'x')))->text.size(),
            kFileBytesMax);
  EXPECT_EQ(read_text_file(dir.write("more", std::string(kFileBytesMax + 1, 'x'))).error().code,
            EFBIG);
  EXPECT_EQ(read_text_file(dir.file("none")).error().code, ENOENT);
  EXPECT_EQ(read_text_file(dir.path()).error().code, EISDIR);
}

TEST(Files, a_secret_that_others_can_read_is_refused) {
  for (const unsigned mode : {0644u, 0640u, 0604u, 0660u, 0601u}) {
    const auto checked = check_secrecy("/etc/key", mode, geteuid());
    ASSERT_FALSE(checked) << std::oct << mode;
    EXPECT_NE(checked.error().find("chmod 600 /etc/key"), std::string::npos);
  }
  for (const unsigned mode : {0600u, 0400u, 0700u})
    EXPECT_TRUE(check_secrecy("/etc/key", mode, geteuid()));
}

TEST(Files, a_secret_of_another_user_is_refused) {
  const auto checked = check_secrecy("/etc/key", 0600, geteuid() + 4711);
  ASSERT_FALSE(checked);
  EXPECT_NE(checked.error().find("chown"), std::string::npos);
  EXPECT_TRUE(check_secrecy("/etc/key", 0600, 0));
}

TEST(Files, a_link_to_a_secret_counts_as_what_it_points_to) {
  const Temporary dir;
  dir.write("open", "x", 0644);
  dir.write("closed", "x", 0600);
  ASSERT_EQ(symlink("open", dir.file("to-open").c_str()), 0);
  ASSERT_EQ(symlink("closed", dir.file("to-closed").c_str()), 0);
  EXPECT_FALSE(check_secret_file(dir.file("to-open")));
  EXPECT_TRUE(check_secret_file(dir.file("to-closed")));
  EXPECT_FALSE(check_secret_file(dir.file("nothing")));
}

TEST(Files, a_new_file_never_replaces_one) {
  const Temporary dir;
  ASSERT_TRUE(write_new_file(dir.file("a"), "one", 0600));
  EXPECT_EQ(write_new_file(dir.file("a"), "two", 0600).error().code, EEXIST);
  EXPECT_EQ(dir.read("a"), "one");
  EXPECT_EQ(read_text_file(dir.file("a"))->mode, 0600u);
  ASSERT_TRUE(replace_file(dir.file("a"), "two", 0600));
  EXPECT_EQ(dir.read("a"), "two");
}

TEST(Files, a_temporary_directory_is_renamed_whole_or_vanishes) {
  const Temporary dir;
  std::string forgotten;
  {
    auto temporary = TemporaryDirectory::beside(dir.file("target"));
    ASSERT_TRUE(temporary);
    forgotten = temporary->path();
    ASSERT_TRUE(write_new_file(forgotten + "/file", "x", 0600));
  }
  EXPECT_FALSE(std::filesystem::exists(forgotten));
  auto temporary = TemporaryDirectory::beside(dir.file("target"));
  ASSERT_TRUE(temporary);
  ASSERT_TRUE(write_new_file(temporary->path() + "/file", "x", 0600));
  ASSERT_TRUE(temporary->rename_to(dir.file("target")));
  EXPECT_EQ(dir.read("target/file"), "x");
  auto second = TemporaryDirectory::beside(dir.file("target"));
  EXPECT_FALSE(second->rename_to(dir.file("target")));
}

TEST(Files, paths_are_seen_from_the_file_that_names_them) {
  EXPECT_EQ(resolve_beside("/etc/masque/server.toml", "cert/server.crt"),
            "/etc/masque/cert/server.crt");
  EXPECT_EQ(resolve_beside("/etc/masque/server.toml", "../dist"), "/etc/dist");
  EXPECT_EQ(resolve_beside("/etc/masque/server.toml", "/var/x"), "/var/x");
  EXPECT_EQ(absolute_path("/a/b/"), "/a/b");
}

}  // namespace
}  // namespace masque
