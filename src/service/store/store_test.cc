// SPDX-License-Identifier: Apache-2.0
#include "service/store/store.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck.h>
#include <rapidcheck/gtest.h>
#include <signal.h>
#include <sqlite3.h>
#include <sys/wait.h>
#include <unistd.h>

#include <format>
#include <map>
#include <thread>

#include "service/pki/certificate.h"
#include "service/store/store_writer.h"
#include "service/store/user_directory.h"
#include "service/testing/temporary.h"

namespace masque {
namespace {

using ::testing::HasSubstr;
using testing::Temporary;
using Kind = StoreError::Kind;

IpPrefix prefix(std::string_view text) { return *IpPrefix::parse(text); }
User user(std::string_view name, std::string_view fingerprint = "") {
  return {.name = std::string(name),
          .fingerprint = std::string(fingerprint),
          .token_hash = {},
          .created = 1000,
          .revoked = {},
          .policy = {}};
}

// Runs SQL on the file behind the store's back.
void meddle(const std::string& path, const char* sql) {
  sqlite3* handle = nullptr;
  ASSERT_EQ(sqlite3_open(path.c_str(), &handle), SQLITE_OK);
  EXPECT_EQ(sqlite3_exec(handle, sql, nullptr, nullptr, nullptr), SQLITE_OK)
      << sqlite3_errmsg(handle);
  sqlite3_close(handle);
}

class StoreTest : public ::testing::Test {
 protected:
  static constexpr Duration kShortTimeout = 50ms;
  std::unique_ptr<Store> open(Store::Open mode = Store::Open::CreateOrExisting) {
    auto store = Store::open(path, mode, kShortTimeout);
    EXPECT_TRUE(store) << store.error().text;
    return store ? std::move(*store) : nullptr;
  }
  Temporary dir;
  std::string path = dir.file("state.db");
};

TEST_F(StoreTest, is_created_secret_and_only_when_asked) {
  EXPECT_EQ(Store::open(path, Store::Open::Existing).error().kind, Kind::Missing);
  {
    const auto store = open(Store::Open::Create);
  }
  EXPECT_EQ(read_text_file(path)->mode, 0600u);
  EXPECT_EQ(Store::open(path, Store::Open::Create).error().kind, Kind::Exists);
  EXPECT_TRUE(Store::open(path, Store::Open::Existing));
}

TEST_F(StoreTest, keeps_users_and_their_policy) {
  const UserPolicy policy{.allowed = {prefix("10.0.0.0/8"), prefix("fd00::/8")},
                          .addresses = {prefix("10.8.0.9/32")},
                          .routes = {prefix("10.1.0.0/16")},
                          .site_subnets = {prefix("192.168.7.0/24")},
                          .reach_clients = ClientReach::Allow,
                          .reach_gateway = GatewayReach::Ping};
  {
    const auto store = open();
    ASSERT_TRUE(store->add_user(user("anna", "aa")));
    ASSERT_TRUE(store->set_policy("anna", policy));
    ASSERT_TRUE(store->set_token_hash("anna", "hash"));
  }
  const auto anna = open()->user("anna");
  ASSERT_TRUE(anna);
  EXPECT_EQ(anna->fingerprint, "aa");
  EXPECT_EQ(anna->token_hash, "hash");
  EXPECT_EQ(anna->created, 1000);
  EXPECT_EQ(anna->policy, policy);
}

TEST_F(StoreTest, a_name_is_taken_until_it_is_revoked) {
  const auto store = open();
  ASSERT_TRUE(store->add_user(user("anna", "aa")));
  EXPECT_EQ(store->add_user(user("anna", "bb")).error().kind, Kind::Exists);
  ASSERT_TRUE(store->set_token_hash("anna", "hash"));
  ASSERT_TRUE(store->revoke_user("anna", 2000));
  EXPECT_EQ(store->user("anna")->revoked, 2000);
  EXPECT_EQ(store->user("anna")->token_hash, "");
  EXPECT_FALSE(store->set_token_hash("anna", "again"));
  ASSERT_TRUE(store->add_user(user("anna", "bb")));
  EXPECT_FALSE(store->user("anna")->revoked);
  EXPECT_EQ(store->revoke_user("nobody", 1).error().kind, Kind::NoSuchUser);
  EXPECT_EQ(store->set_policy("nobody", {}).error().kind, Kind::NoSuchUser);
  EXPECT_EQ(store->user("nobody").error().kind, Kind::NoSuchUser);
}

TEST_F(StoreTest, fixed_addresses_and_subnets_have_one_owner) {
  const auto store = open();
  ASSERT_TRUE(store->add_user(user("anna", "aa")));
  ASSERT_TRUE(store->add_user(user("bob", "bb")));
  UserPolicy annas;
  annas.site_subnets = {prefix("192.168.0.0/16")};
  ASSERT_TRUE(store->set_policy("anna", annas));
  UserPolicy bobs;
  bobs.addresses = {prefix("192.168.3.1/32")};
  const auto refused = store->set_policy("bob", bobs);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().kind, Kind::Conflict);
  EXPECT_THAT(refused.error().text, HasSubstr("anna"));
  EXPECT_TRUE(store->user("bob")->policy.addresses.empty()) << "nothing of a refused change stays";
  ASSERT_TRUE(store->revoke_user("anna", 1));
  EXPECT_TRUE(store->set_policy("bob", bobs));
}

TEST_F(StoreTest, names_are_safe_everywhere) {
  for (const auto name : {"a", "anna", "Anna-2", "anna@example.com", "a_b.c", "0"})
    EXPECT_TRUE(is_user_name(name));
  for (const auto name : {"", "-a", ".a", "../a", "a/b", "a b", "a'b", "ä", "a\n", "a\"b"}) {
    EXPECT_FALSE(is_user_name(name)) << name;
  }
  EXPECT_TRUE(is_user_name(std::string(kUserNameBytesMax, 'a')));
  EXPECT_FALSE(is_user_name(std::string(kUserNameBytesMax + 1, 'a')));
}

TEST_F(StoreTest, the_first_schema_is_brought_up_to_date) {
  ASSERT_TRUE(open()->add_user(user("anna", "aa")));
  meddle(path, "ALTER TABLE users DROP COLUMN reach_gateway; PRAGMA user_version = 1;");
  for (int times = 0; times < 2; ++times) {
    const auto store = open(Store::Open::Existing);
    ASSERT_TRUE(store);
    const auto anna = store->user("anna");
    ASSERT_TRUE(anna) << anna.error().text;
    EXPECT_EQ(anna->policy.reach_gateway, GatewayReach::Tunnel);
  }
  UserPolicy policy;
  policy.reach_gateway = GatewayReach::All;
  ASSERT_TRUE(open()->set_policy("anna", policy));
  EXPECT_EQ(open()->user("anna")->policy.reach_gateway, GatewayReach::All);
  meddle(path, "UPDATE users SET reach_gateway = 'everything'");
  EXPECT_EQ(open()->user("anna").error().kind, Kind::Corrupt) << "not taken for another value";
}

TEST_F(StoreTest, a_newer_schema_is_refused_and_untouched) {
  open();
  meddle(path, "PRAGMA user_version = 99; CREATE TABLE future (x);");
  const std::string before = read_text_file(path)->text;
  const auto refused = Store::open(path, Store::Open::CreateOrExisting);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().kind, Kind::Newer);
  EXPECT_EQ(read_text_file(path)->text, before);
}

TEST_F(StoreTest, the_database_of_another_program_is_refused) {
  meddle(path, "CREATE TABLE clients (id TEXT);");
  EXPECT_EQ(Store::open(path, Store::Open::CreateOrExisting).error().kind, Kind::Foreign);
  dir.write("text.db", std::string(4096, 'x'));
  EXPECT_EQ(Store::open(dir.file("text.db"), Store::Open::CreateOrExisting).error().kind,
            Kind::Foreign);
}

TEST_F(StoreTest, a_policy_that_cannot_be_read_is_no_policy) {
  {
    const auto store = open();
    ASSERT_TRUE(store->add_user(user("anna", "aa")));
  }
  meddle(path, "INSERT INTO user_prefixes VALUES ('anna', 'allow', '10.0.0.1/8');");
  const auto store = open();
  EXPECT_EQ(store->user("anna").error().kind, Kind::Corrupt);
  EXPECT_FALSE(store->users());
  EXPECT_FALSE(UserDirectory::read(*store));
}

TEST_F(StoreTest, every_damaged_page_is_noticed_or_harmless) {
  {
    const auto store = open();
    for (int i = 0; i < 50; ++i)
      ASSERT_TRUE(store->add_user(user(std::format("user{}", i), std::format("{:064}", i))));
  }
  const std::string whole = read_text_file(path)->text;
  for (size_t at = 0; at < whole.size(); at += 509) {
    std::string damaged = whole;
    for (size_t i = at; i < std::min(at + 64, whole.size()); ++i)
      damaged[i] = static_cast<char>(0xa5);
    std::filesystem::remove(path + "-wal");
    std::filesystem::remove(path + "-shm");
    dir.write("state.db", damaged);
    const auto opened = Store::open(path, Store::Open::Existing);
    if (opened) (void)(*opened)->users();
  }
}

TEST_F(StoreTest, a_lock_of_another_program_is_told_after_a_bounded_time) {
  const auto store = open();
  sqlite3* other = nullptr;
  ASSERT_EQ(sqlite3_open(path.c_str(), &other), SQLITE_OK);
  ASSERT_EQ(sqlite3_exec(other, "BEGIN EXCLUSIVE", nullptr, nullptr, nullptr), SQLITE_OK);
  EXPECT_TRUE(store->users()) << "readers go on";
  EXPECT_EQ(store->add_user(user("anna")).error().kind, Kind::Busy);
  sqlite3_close(other);
  EXPECT_TRUE(store->add_user(user("anna")));
}

TEST_F(StoreTest, leases_have_one_owner) {
  const auto store = open();
  ASSERT_TRUE(
      store->put_leases({{"anna", prefix("10.8.0.2/32"), 1}, {"anna", prefix("fd00::/64"), 1}}));
  ASSERT_TRUE(store->put_leases({{"bob", prefix("10.8.0.2/32"), 2}}));
  EXPECT_EQ(*store->leases(), (std::vector<Lease>{{"anna", prefix("fd00::/64"), 1},
                                                  {"bob", prefix("10.8.0.2/32"), 2}}));
  ASSERT_TRUE(store->remove_lease(prefix("10.8.0.2/32")));
  EXPECT_EQ(store->leases()->size(), 1u);
}

RC_GTEST_PROP(Leases, follow_a_map_through_any_steps_and_restarts, ()) {
  const Temporary dir;
  const std::string path = dir.file("state.db");
  auto store = *Store::open(path, Store::Open::Create);
  std::map<IpPrefix, Lease> model;
  const int steps = *rc::gen::inRange(1, 25);
  for (int i = 0; i < steps; ++i) {
    const auto p = prefix(std::format("10.8.0.{}/32", *rc::gen::inRange(0, 8)));
    switch (*rc::gen::inRange(0, 4)) {
      case 0:
        RC_ASSERT(store->remove_lease(p).has_value());
        model.erase(p);
        break;
      case 1:
        store.reset();
        store = *Store::open(path, Store::Open::Existing);
        break;
      default:
        const Lease lease{
            .identity = std::format("u{}", *rc::gen::inRange(0, 3)), .prefix = p, .last_seen = i};
        RC_ASSERT(store->put_leases({lease}).has_value());
        model.insert_or_assign(p, lease);
    }
    const auto leases = *store->leases();
    RC_ASSERT(leases.size() == model.size());
    for (const auto& lease : leases) RC_ASSERT(model.at(lease.prefix) == lease);
  }
}

// faults.md B9: what was answered is there after kill -9, and the file is whole.
TEST_F(StoreTest, committed_rows_survive_kill_9) {
  {
    const auto store = open();
  }
  for (int round = 0; round < 5; ++round) {
    int pipe_fds[2];
    ASSERT_EQ(pipe(pipe_fds), 0);
    const pid_t child = fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      auto opened = Store::open(path, Store::Open::Existing);
      for (int i = 0; opened; ++i) {
        const int number = round * 100'000 + i;
        if (!(*opened)->add_user(user(std::format("u{}", number), std::format("{}", number))))
          break;
        if (write(pipe_fds[1], &number, sizeof number) < 0) break;
      }
      _exit(1);
    }
    close(pipe_fds[1]);
    int last = -1;
    for (int i = 0; i < 3 + round; ++i)
      ASSERT_EQ(read(pipe_fds[0], &last, sizeof last), static_cast<ssize_t>(sizeof last));
    kill(child, SIGKILL);
    waitpid(child, nullptr, 0);
    while (read(pipe_fds[0], &last, sizeof last) == static_cast<ssize_t>(sizeof last)) {
    }
    close(pipe_fds[0]);
    EXPECT_TRUE(open(Store::Open::Existing)->user(std::format("u{}", last)));
  }
}

TEST(UserDirectoryTest, admits_by_the_key_of_the_name) {
  std::vector<User> users = {user("anna", "aa"), user("bob", "bb"), user("gone", "cc"),
                             user("token", "")};
  users[2].revoked = 5;
  users[3].token_hash = sha256_hex("mvpn_secret");
  const UserDirectory directory(std::move(users));
  using Verdict = UserDirectory::Verdict;
  EXPECT_EQ(directory.by_certificate("anna", "aa").verdict, Verdict::Admitted);
  EXPECT_EQ(directory.by_certificate("anna", "aa").user->name, "anna");
  EXPECT_EQ(directory.by_certificate("anna", "old").verdict, Verdict::OtherKey);
  EXPECT_EQ(directory.by_certificate("anna", "bb").verdict, Verdict::OtherKey);
  EXPECT_EQ(directory.by_certificate("other", "cc").verdict, Verdict::OtherKey)
      << "a revoked key under a new name";
  EXPECT_EQ(directory.by_certificate("gone", "cc").verdict, Verdict::Revoked);
  EXPECT_EQ(directory.by_certificate("new", "dd").verdict, Verdict::Unknown);
  EXPECT_EQ(directory.by_certificate("token", "").verdict, Verdict::OtherKey)
      << "a user of a token has no certificate";
  EXPECT_EQ(directory.by_token("mvpn_secret").user->name, "token");
  EXPECT_EQ(directory.by_token("mvpn_other").verdict, Verdict::Unknown);
  EXPECT_EQ(directory.by_token("").verdict, Verdict::Unknown);
  EXPECT_EQ(directory.find("bob")->fingerprint, "bb");
}

TEST_F(StoreTest, the_writer_merges_and_flushes) {
  {
    StoreWriter writer(open());
    for (int i = 0; i < 1000; ++i) writer.put_lease({"anna", prefix("10.8.0.2/32"), i});
    writer.put_lease({"bob", prefix("10.8.0.3/32"), 1});
    writer.remove_lease(prefix("10.8.0.3/32"));
    EXPECT_TRUE(writer.flush(5s));
    EXPECT_EQ(writer.dropped(), 0u);
    writer.put_lease({"last", prefix("10.8.0.4/32"), 1});
  }
  EXPECT_EQ(*open()->leases(), (std::vector<Lease>{{"anna", prefix("10.8.0.2/32"), 999},
                                                   {"last", prefix("10.8.0.4/32"), 1}}));
}

TEST_F(StoreTest, the_writer_keeps_what_a_locked_disk_refuses) {
  auto store = open();
  sqlite3* other = nullptr;
  ASSERT_EQ(sqlite3_open(path.c_str(), &other), SQLITE_OK);
  ASSERT_EQ(sqlite3_exec(other, "BEGIN EXCLUSIVE", nullptr, nullptr, nullptr), SQLITE_OK);
  StoreWriter writer(std::move(store), kShortTimeout);
  writer.put_lease({"anna", prefix("10.8.0.2/32"), 1});
  EXPECT_FALSE(writer.flush(200ms)) << "the caller is not held up for longer than it says";
  sqlite3_close(other);
  EXPECT_TRUE(writer.flush(10s));
}

TEST_F(StoreTest, the_writer_bounds_what_waits) {
  auto store = open();
  sqlite3* other = nullptr;
  ASSERT_EQ(sqlite3_open(path.c_str(), &other), SQLITE_OK);
  ASSERT_EQ(sqlite3_exec(other, "BEGIN EXCLUSIVE", nullptr, nullptr, nullptr), SQLITE_OK);
  {
    StoreWriter writer(std::move(store), kShortTimeout);
    const uint32_t first = 0x0a000000;
    for (uint32_t i = 0; i < 2 * StoreWriter::kPendingMax + 10; ++i) {
      writer.remove_lease(IpPrefix::host(IpAddress::v4(first + i)));
    }
    EXPECT_GE(writer.dropped(), 1u);
  }
  sqlite3_close(other);  // after the writer's end: it gives up after one try
}

}  // namespace
}  // namespace masque
