// SPDX-License-Identifier: Apache-2.0
// Text in a manual page.
#pragma once

#include <string>
#include <string_view>

namespace masque {

// roff reads a backslash, and a dot or quote at the start of a line, as commands.
inline std::string roff(std::string_view text) {
  std::string out;
  if (text.starts_with('.') || text.starts_with('\'')) out += "\\&";
  for (const char c : text) {
    if (c == '\\') {
      out += "\\e";
    } else if (c == '-') {
      out += "\\-";
    } else {
      out += c;
    }
  }
  return out;
}

}  // namespace masque
