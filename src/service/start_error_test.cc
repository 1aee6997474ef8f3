// SPDX-License-Identifier: Apache-2.0
#include "service/start_error.h"

#include <gtest/gtest.h>

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

}  // namespace
}  // namespace masque
