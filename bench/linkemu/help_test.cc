// SPDX-License-Identifier: Apache-2.0
#include "linkemu/help.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <format>
#include <fstream>
#include <iterator>
#include <sstream>
#include <string>
#include <vector>

#include "sim/link_profiles.h"
#include "sim/link_text.h"

namespace masque::linkemu {
namespace {

using testing::HasSubstr;

std::vector<std::string> option_names() {
  std::vector<std::string> names;
  for (const LinkKey& key : link_keys()) names.emplace_back(key.name);
  for (const OptionText& option : link_option_texts()) names.emplace_back(option.name);
  for (const OptionText& option : run_option_texts()) names.emplace_back(option.name);
  return names;
}

TEST(Help, names_every_option) {
  const std::string help = help_text();
  for (const std::string& name : option_names()) EXPECT_THAT(help, HasSubstr("  --" + name));
}

TEST(Help, lines_fit_a_terminal) {
  std::istringstream help(help_text());
  for (std::string line; std::getline(help, line);) EXPECT_LE(line.size(), 100u) << line;
}

TEST(Help, completions_name_every_option_and_profile) {
  for (const char* shell : {"bash", "zsh", "fish"}) {
    const auto script = completion(shell);
    ASSERT_TRUE(script);
    for (const std::string& name : option_names()) {
      EXPECT_THAT(*script, HasSubstr((shell == std::string("fish") ? "-l " : "--") + name));
    }
    for (const LinkProfile& profile : link_profiles()) {
      EXPECT_THAT(*script, HasSubstr(profile.name));
    }
  }
  EXPECT_FALSE(completion("tcsh"));
}

TEST(Help, operating_guide_names_every_option_and_profile) {
  std::ifstream file(std::string(MASQUE_SOURCE_DIR) + "/docs/operating.md");
  const std::string guide((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  for (const std::string& name : option_names()) {
    EXPECT_TRUE(guide.contains(std::format("`--{} ", name)) ||
                guide.contains(std::format("`--{}`", name)))
        << name;
  }
  for (const LinkProfile& profile : link_profiles()) {
    EXPECT_TRUE(guide.contains(std::format("`{}`", profile.name))) << profile.name;
  }
}

}  // namespace
}  // namespace masque::linkemu
