// SPDX-License-Identifier: Apache-2.0
#include "service/start_error.h"

#include <gtest/gtest.h>

#include "service/config/config.h"
#include "service/exit_code.h"

namespace masque {
namespace {

// As docs/operating.md has it, whether a command or the server meets the database.
TEST(StartError, a_database_has_one_exit_code_for_each_fault) {
  using Kind = StoreError::Kind;
  constexpr std::pair<Kind, int> kCases[] = {{Kind::Busy, kExitLater},
                                             {Kind::Full, kExitLater},
                                             {Kind::Foreign, kExitConfiguration},
                                             {Kind::Newer, kExitConfiguration},
                                             {Kind::Corrupt, kExitConfiguration},
                                             {Kind::Missing, kExitFailed},
                                             {Kind::NoSuchUser, kExitFailed},
                                             {Kind::Failed, kExitFailed}};
  for (const auto& [kind, code] : kCases) {
    const StoreError error{.kind = kind, .text = "why"};
    EXPECT_EQ(exit_code_of(error), code);
    EXPECT_EQ(start_failed(error).error().exit_code, code);
  }
}

// What shows only when a value is used is told like what shows when it is read.
TEST(StartError, a_fault_of_the_configuration_has_its_place) {
  const auto loaded = parse_client_config(
      "server_addr = \"a:1\"\n[http]\n  uri_template = "
      "\"https://a/{target}/\"\n",
      "/etc/x.toml");
  ASSERT_TRUE(loaded.config);
  const StartError placed =
      start_failed(fault_of(*loaded.config, "http.uri_template", "no")).error();
  EXPECT_EQ(placed.text, "/etc/x.toml:3:18: http.uri_template: no");
  EXPECT_EQ(placed.exit_code, kExitConfiguration);
  EXPECT_EQ(start_failed(fault_of(*loaded.config, "server_name", "no")).error().text,
            "/etc/x.toml: server_name: no");
}

}  // namespace
}  // namespace masque
