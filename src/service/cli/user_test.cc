// SPDX-License-Identifier: Apache-2.0
// `masque-vpn user` where something else is wrong: a full disk, a configuration with faults, no
// database.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdio_ext.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>

#include "service/control/protocol.h"
#include "service/store/store.h"
#include "service/testing/cli_fixture.h"

namespace masque {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

class UserCommandTest : public testing::CliFixture {
 protected:
  StoreResult<User> user(const std::string& name) {
    const auto store = Store::open(dir.file("gw/state.db"), Store::Open::Existing);
    return (*store)->user(name);
  }
  // One line more or other text at the end of the gateway's configuration.
  void edit(std::string_view before, std::string_view after) {
    std::string text = dir.read("gw/server.toml");
    const size_t at = text.find(before);
    ASSERT_NE(at, std::string::npos) << before;
    dir.write("gw/server.toml", text.replace(at, before.size(), after));
  }
};

// Standard output of this process on a device without room, until it goes away.
class FullOutput {
 public:
  FullOutput() : saved_(dup(STDOUT_FILENO)) {
    fflush(stdout);
    const int full = open("/dev/full", O_WRONLY | O_CLOEXEC);
    EXPECT_GE(full, 0);
    dup2(full, STDOUT_FILENO);
    close(full);
  }
  ~FullOutput() {
    dup2(saved_, STDOUT_FILENO);
    close(saved_);
    __fpurge(stdout);  // what could not be written
  }
  FullOutput(const FullOutput&) = delete;
  FullOutput& operator=(const FullOutput&) = delete;

 private:
  int saved_;
};

TEST_F(UserCommandTest, an_answer_that_cannot_be_written_is_a_failure) {
  ASSERT_EQ(init(), kExitDone);
  ASSERT_EQ(add("anna"), kExitDone);
  ServiceStatus listening;
  listening.role = ServiceRole::Server;
  listening.state = ServiceState::Listening;
  instances["/s"] = control_ok(listening);
  hooks.out = system_hooks().out;
  const std::vector<std::vector<std::string>> kCommands = {
      {"--version"},
      {"user", "list", "-c", toml()},
      {"user", "list", "-c", toml(), "--json"},
      {"user", "add", "bert", "-c", toml(), "-o", dir.file("bert.toml")},
      {"user", "add", "carl", "-c", toml(), "-o", "-"},
      {"user", "token", "anna", "-c", toml()},
      {"check", "-c", toml()},
      {"status", "--socket", "/s"},
      {"session", "list", "--socket", "/s"},
      {"session", "list", "--socket", "/s", "--json"},
      {"man"},
      {"man", "config"},
      {"completion", "bash"},
      {"init", dir.file("second"), "--listen", "192.0.2.1:1", "--name", "a.example", "--pool",
       "10.9.0.0/24"},
  };
  for (const auto& command : kCommands) {
    int code = 0;
    {
      const FullOutput full;
      code = run(command);
    }
    EXPECT_EQ(code, kExitFailed) << ::testing::PrintToString(command);
    EXPECT_EQ(err, "masque-vpn: write to standard output: No space left on device\n")
        << ::testing::PrintToString(command);
  }
}

// The profile has the only copy of the key.
TEST_F(UserCommandTest, a_user_whose_profile_was_not_written_is_not_added) {
  ASSERT_EQ(init(), kExitDone);
  out_error = ENOSPC;
  EXPECT_EQ(run({"user", "add", "anna", "-c", toml(), "-o", "-"}), kExitFailed);
  EXPECT_EQ(user("anna").error().kind, StoreError::Kind::NoSuchUser);
  EXPECT_EQ(run({"user", "add", "anna", "-c", toml(), "-o", dir.file("no/anna.toml")}),
            kExitFailed);
  EXPECT_EQ(user("anna").error().kind, StoreError::Kind::NoSuchUser);
  out_error = 0;
  EXPECT_EQ(run({"user", "add", "anna", "-c", toml(), "-o", "-"}), kExitDone) << err;
  EXPECT_TRUE(user("anna"));
}

TEST_F(UserCommandTest, a_token_that_was_not_written_leaves_the_old_one) {
  ASSERT_EQ(init(), kExitDone);
  ASSERT_EQ(add("anna"), kExitDone);
  ASSERT_EQ(run({"user", "token", "anna", "-c", toml()}), kExitDone);
  const std::string before = user("anna")->token_hash;
  out_error = ENOSPC;
  EXPECT_EQ(run({"user", "token", "anna", "-c", toml()}), kExitFailed);
  EXPECT_EQ(user("anna")->token_hash, before);
  out_error = 0;
  EXPECT_EQ(run({"user", "token", "nobody", "-c", toml()}), kExitFailed);
  EXPECT_EQ(out, "") << "no token for nobody";
}

// Whom an expired certificate keeps out must not be what keeps a user in.
TEST_F(UserCommandTest, a_user_is_revoked_whatever_else_is_wrong) {
  ASSERT_EQ(init(), kExitDone);
  ASSERT_EQ(add("anna"), kExitDone);
  ASSERT_EQ(add("bert"), kExitDone);
  const auto late = make_server_certificate({.certificate_pem = dir.read("gw/ca.crt"),
                                             .key_pem = dir.read("gw/ca.key"),
                                             .fingerprint = {}},
                                            {"vpn.example"}, -1);
  ASSERT_TRUE(late) << late.error();
  dir.write("gw/server.crt", late->certificate_pem);
  dir.write("gw/server.key", late->key_pem);
  ASSERT_EQ(run({"check", "-c", toml()}), kExitConfiguration);
  const std::string fault = err.substr(0, err.find('\n'));
  ASSERT_THAT(fault, HasSubstr("error: cert_file: "));
  std::string warning = fault;
  warning.replace(warning.find("error: "), 7, "warning: ");

  EXPECT_EQ(run({"user", "revoke", "anna", "-c", toml()}), kExitDone);
  EXPECT_THAT(err, HasSubstr(warning));
  EXPECT_TRUE(user("anna")->revoked);
  EXPECT_EQ(run({"user", "list", "-c", toml()}), kExitDone);
  EXPECT_THAT(out, HasSubstr("anna  revoked"));
  EXPECT_THAT(err, HasSubstr(warning));
  EXPECT_EQ(run({"user", "set", "bert", "-c", toml(), "--reach-clients", "yes"}), kExitDone);
  EXPECT_EQ(run({"user", "token", "bert", "-c", toml()}), kExitDone);
  EXPECT_EQ(add("carl"), kExitConfiguration) << "a profile needs all of it";
  EXPECT_THAT(err, HasSubstr(fault));
}

TEST_F(UserCommandTest, the_database_that_is_meant_must_be_sure) {
  ASSERT_EQ(init(), kExitDone);
  ASSERT_EQ(add("anna"), kExitDone);
  const std::string whole = dir.read("gw/server.toml");
  constexpr std::pair<const char*, const char*> kFaults[] = {
      {"[state]", "[stat]"},
      {"database = ", "databse = "},
      {"database = \"state.db\"", "database = 1"},
      {"database = \"state.db\"", "database = \"none/state.db\""},
      {"listen_addr = ", "database = \"other.db\"\nlisten_addr = "},
      {"[state]", "[control]\nsocke = \"x\"\n[state]"},
      {"listen_addr = ", "listen_addr = = "},
  };
  for (const auto& [before, after] : kFaults) {
    edit(before, after);
    EXPECT_EQ(run({"user", "revoke", "anna", "-c", toml()}), kExitConfiguration) << after;
    EXPECT_EQ(run({"user", "list", "-c", toml()}), kExitConfiguration) << after;
    EXPECT_THAT(err, HasSubstr("error: ")) << after;
    dir.write("gw/server.toml", whole);
  }
  EXPECT_FALSE(user("anna")->revoked);
  edit("assign_cidr = ", "assign_cidr = \"10.8.0.1/24\"\n#");
  EXPECT_EQ(run({"user", "set", "anna", "-c", toml(), "--subnet", "10.8.0.0/16"}),
            kExitConfiguration)
      << "a subnet is compared with the pools";
  EXPECT_EQ(run({"user", "list", "-c", toml()}), kExitDone);
  EXPECT_EQ(run({"user", "list", "-c", dir.file("anna.toml")}), kExitConfiguration)
      << "a client's file";
}

TEST_F(UserCommandTest, only_a_user_that_is_added_makes_a_database) {
  ASSERT_EQ(init(), kExitDone);
  const std::string database = dir.file("gw/state.db");
  std::filesystem::remove(database);
  dir.write("taken.toml", "mine");
  const std::vector<std::pair<std::vector<std::string>, int>> kRefused = {
      {{"list"}, kExitFailed},
      {{"revoke", "anna"}, kExitFailed},
      {{"set", "anna", "--reach-clients", "no"}, kExitFailed},
      {{"token", "anna"}, kExitFailed},
      {{"add", "anna", "-o", "-", "--subnet", "10.8.0.0/16"}, kExitUsage},
      {{"add", "anna", "-o", "-", "--endpoint", "http://x"}, kExitUsage},
      {{"add", "anna", "-o", "-", "--tun-name", "a/b"}, kExitUsage},
      {{"add", "anna", "-o", dir.file("taken.toml")}, kExitFailed},
      {{"add", "anna", "-o", dir.file("no/anna.toml")}, kExitFailed},
  };
  for (auto [arguments, code] : kRefused) {
    arguments.insert(arguments.begin(), "user");
    arguments.insert(arguments.end(), {"-c", toml()});
    EXPECT_EQ(run(arguments), code) << ::testing::PrintToString(arguments);
    EXPECT_EQ(std::ranges::count(err, '\n'), 1) << err;
    EXPECT_FALSE(std::filesystem::exists(database)) << ::testing::PrintToString(arguments);
  }
  EXPECT_EQ(add("anna"), kExitDone) << err;
  EXPECT_TRUE(user("anna"));
}

}  // namespace
}  // namespace masque
