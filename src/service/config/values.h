// SPDX-License-Identifier: Apache-2.0
// What a configuration file sets, key by key as text, so that a reload can name what it changes -
// also keys that nobody thought of when the reload was written.
#pragma once

#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "service/config/document.h"

namespace masque {

// Keys with a dot before the last name ("nat.enabled"). A key that is absent or empty is not in it;
// one that names a file to read has the file's digest beside its path.
using ConfigValues = std::map<std::string, std::string, std::less<>>;

// Where the value of each key stands that is in the file.
using ConfigPlaces = std::map<std::string, Place, std::less<>>;

// One line, the same for the same value; empty for an empty string.
std::string value_text(const ConfigNode& node);

// The keys whose value is another one now, without those of `applied`, which a running program
// takes over.
std::vector<std::string> keys_for_restart(const ConfigValues& running, const ConfigValues& next,
                                          std::span<const std::string_view> applied);

}  // namespace masque
