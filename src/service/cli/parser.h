// SPDX-License-Identifier: Apache-2.0
// The definition of the command line, the only place where it is: parsing, --help, the man page and
// the completions all come from it. The parsing library stays behind parser.cc.
#pragma once

#include <string>
#include <variant>

#include "service/cli/options.h"

namespace masque {

// The answer is text already: --help and --version (0), or a fault of usage (2).
struct ParserAnswer {
  std::string text;
  int exit_code = 0;
};

std::variant<Command, ParserAnswer> parse_command_line(int argc, const char* const* argv);
CommandModel command_model();

std::string man_page(const CommandModel& model);  // masque-vpn(1)
std::string config_man_page();                    // masque-vpn.toml(5)
// `shell`: "bash", "zsh" or "fish".
std::string completion_script(const CommandModel& model, const std::string& shell);

}  // namespace masque
