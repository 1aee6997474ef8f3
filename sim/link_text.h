// SPDX-License-Identifier: Apache-2.0
// Link options as people write them: `rate` `50mbit`, `loss` `2%`, `burst` `3:2%`. One table of
// keys serves the command line of masque-linkemu, its scheduled changes and its help. What needs a
// file (traces) or another table (profiles) is the caller's.
#pragma once

#include <cstdint>
#include <expected>
#include <span>
#include <string>
#include <string_view>

#include "base/time.h"
#include "sim/link_plan.h"

namespace masque {

// What is wrong with a text, as the rest of a sentence that names the option.
using TextResult = std::expected<void, std::string>;

struct LinkKey {
  std::string_view name;
  std::string_view form;  // of its value
  std::string_view help;
  TextResult (*set)(LinkPlan& plan, std::string_view value);
};

std::span<const LinkKey> link_keys();
const LinkKey* find_link_key(std::string_view name);  // nullptr: there is none

// Values: "25ms", "1.5s", "200us", "2m"; "50mbit", "300kbit"; "64kB", "1500"; "2%", "0.1%".
std::expected<Duration, std::string> parse_duration(std::string_view text);
std::expected<uint64_t, std::string> parse_rate(std::string_view text);
std::expected<size_t, std::string> parse_size(std::string_view text);
std::expected<uint32_t, std::string> parse_share(std::string_view text);

}  // namespace masque
