// SPDX-License-Identifier: Apache-2.0
// A TOML text as a plain tree with the place of every value: what the config reader works on, so
// that the TOML library stays behind document.cc.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "base/result.h"

namespace masque {

struct Place {
  uint32_t line = 0;
  uint32_t column = 0;
  friend auto operator<=>(const Place&, const Place&) = default;
};

struct ConfigNode;
using ConfigArray = std::vector<ConfigNode>;
struct ConfigMember;
using ConfigTable = std::vector<ConfigMember>;
struct OtherValue {};  // dates, times and floating point numbers: no key of ours takes one

struct ConfigNode {
  Place place;
  std::variant<std::string, int64_t, bool, ConfigArray, ConfigTable, OtherValue> value;

  // "a string", "a whole number", ... for messages.
  std::string_view type_name() const;
};
struct ConfigMember {
  std::string key;
  Place place;  // of the key
  ConfigNode node;
};

// The error's file is `path`; a TOML text has at most one fault that can be told.
Result<ConfigTable, ConfigError> parse_toml(std::string_view text, const std::string& path);

}  // namespace masque
