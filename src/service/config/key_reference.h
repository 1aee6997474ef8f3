// SPDX-License-Identifier: Apache-2.0
// What each configuration key means and is when it is absent, a line each, for the manual page.
// What a key takes is the reader's to say (ConfigReader::form_of); a test compares the two.
#pragma once

#include <span>
#include <string_view>

namespace masque {

struct KeyReference {
  std::string_view key;
  std::string_view default_value;  // as it would be written, or in words; empty: none
  std::string_view meaning;
};

std::span<const KeyReference> server_key_reference();  // of servers alone
std::span<const KeyReference> client_key_reference();  // of clients alone
std::span<const KeyReference> common_key_reference();

}  // namespace masque
