// SPDX-License-Identifier: Apache-2.0
// Help, manual page and completion scripts, all made from the tables of keys, options and profiles.
#pragma once

#include <expected>
#include <span>
#include <string>
#include <string_view>

namespace masque::linkemu {

struct OptionText {
  std::string_view name;
  std::string_view form;  // of its value; empty: it takes none
  std::string_view help;
};

// Those of the link that are not in sim/link_text.h, and those of the run.
std::span<const OptionText> link_option_texts();
std::span<const OptionText> run_option_texts();

std::string help_text();
std::string man_page();
// The error is a whole sentence.
std::expected<std::string, std::string> completion(std::string_view shell);

}  // namespace masque::linkemu
