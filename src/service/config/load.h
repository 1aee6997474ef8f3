// SPDX-License-Identifier: Apache-2.0
// From a text or a file to a checked configuration, the same for both kinds.
#pragma once

#include <algorithm>
#include <functional>
#include <string>
#include <string_view>

#include "service/config/config.h"
#include "service/config/document.h"
#include "service/config/reader.h"
#include "service/files.h"

namespace masque {

// The keys of the other kind of configuration: found here, they are told where they belong.
struct ForeignKeys {
  void (*read)(ConfigReader&);
  std::string_view belongs;
};
// Whether a fault keeps the configuration from being used.
using Blocks = std::function<bool(const ConfigError&)>;
inline bool every_fault(const ConfigError&) { return true; }

// Where no fault blocks, all are tolerated.
template <class Config, class Read>
Loaded<Config> parse_with(std::string_view text, const std::string& path, ForeignKeys foreign,
                          Read read, const Blocks& blocks = every_fault) {
  const auto root = parse_toml(text, path);
  if (!root) return {.config = {}, .errors = {root.error()}, .warnings = {}};
  ConfigReader reader(path, *root);
  Config config = read(reader);
  const ConfigTable nothing;
  ConfigReader other("", nothing);
  foreign.read(other);
  reader.set_foreign_keys(other.known_keys(), std::string(foreign.belongs));
  reader.finish();
  config.values = reader.values();
  config.places = reader.places();
  if (std::ranges::any_of(reader.errors, blocks))
    return {.config = {}, .errors = reader.errors, .warnings = reader.warnings};
  return {.config = std::move(config),
          .errors = {},
          .warnings = reader.warnings,
          .tolerated = reader.errors};
}
// `parse` takes the text, the absolute path and the file.
template <class Config, class Parse>
Loaded<Config> load_with(const std::string& path, Parse parse) {
  const auto file = read_text_file(path);
  if (!file) {
    return {.config = {},
            .errors = {{.file = path, .key = {}, .text = file.error().message()}},
            .warnings = {}};
  }
  return parse(file->text, absolute_path(path), &*file);
}

}  // namespace masque
