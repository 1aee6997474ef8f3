// SPDX-License-Identifier: Apache-2.0
#include "service/config/values.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "service/config/config.h"
#include "service/testing/temporary.h"

namespace masque {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using testing::Temporary;

ConfigValues client(std::string_view more) {
  const auto loaded =
      parse_client_config("server_addr = \"192.0.2.1:4433\"\n" + std::string(more), "/c.toml");
  EXPECT_TRUE(loaded.config);
  return loaded.config ? loaded.config->values : ConfigValues();
}

TEST(ConfigValues, every_kind_of_value_is_compared) {
  const ConfigValues before = client("");
  constexpr std::pair<std::string_view, std::string_view> kCases[] = {
      {"mtu = 1300", "mtu"},
      {"insecure_skip_verify = true", "insecure_skip_verify"},
      {"[routes]\naccept = \"all\"", "routes.accept"},
      {"[routes]\nexclude = [\"10.0.0.0/8\"]", "routes.exclude"},
      {"[resilience]\nmode = \"auto\"", "resilience.mode"},
      {"[quic]\nidle_timeout = \"30s\"", "quic.idle_timeout"}};
  for (const auto& [text, key] : kCases) {
    EXPECT_THAT(keys_for_restart(before, client(text), {}), ElementsAre(key)) << "set: " << text;
    EXPECT_THAT(keys_for_restart(client(text), before, {}), ElementsAre(key)) << "gone: " << text;
    EXPECT_THAT(keys_for_restart(client(text), client(text), {}), IsEmpty());
  }
}

TEST(ConfigValues, what_is_applied_and_what_counts_as_not_set_is_no_change) {
  constexpr std::string_view kApplied[] = {"log_level"};
  EXPECT_THAT(
      keys_for_restart(client(""), client("log_level = \"debug\"\ntun_name = \"\""), kApplied),
      IsEmpty());
}

TEST(ConfigValues, other_contents_of_a_file_are_another_value) {
  const Temporary dir;
  const std::string token = dir.write("token", "first");
  const std::string text = "[auth]\ntoken_file = \"" + token + "\"";
  const ConfigValues before = client(text);
  EXPECT_THAT(keys_for_restart(before, client(text), {}), IsEmpty());
  dir.write("token", "second");
  EXPECT_THAT(keys_for_restart(before, client(text), {}), ElementsAre("auth.token_file"));
}

}  // namespace
}  // namespace masque
