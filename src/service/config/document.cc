// SPDX-License-Identifier: Apache-2.0
#include "service/config/document.h"

#include <algorithm>

// Compiled into this file alone and without exceptions, whatever the library's package says. Its
// assertions can be reached from input ("[[["), and with NDEBUG they become assumptions, which is
// worse; the code behind them does report the fault, so they are turned into nothing.
#undef NDEBUG
#define TOML_ASSERT(condition) static_cast<void>(0)
#undef TOML_HEADER_ONLY
#undef TOML_SHARED_LIB
#define TOML_HEADER_ONLY 1
#define TOML_EXCEPTIONS 0
#define TOML_ENABLE_FORMATTERS 0
#if defined(__GNUC__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wsign-conversion"
#pragma GCC diagnostic ignored "-Wconversion"
#pragma GCC diagnostic ignored "-Wshadow"
#endif
#include <toml++/toml.hpp>
#if defined(__GNUC__)
#pragma GCC diagnostic pop
#endif

namespace masque {

namespace {

Place place_of(const toml::source_region& region) {
  return {.line = region.begin.line, .column = region.begin.column};
}

ConfigNode convert(const toml::node& node);

// Tables keep the order of the file, so that faults are told in it.
ConfigTable convert_table(const toml::table& table) {
  ConfigTable members;
  for (const auto& [key, value] : table) {
    members.push_back(
        {.key = std::string(key.str()), .place = place_of(key.source()), .node = convert(value)});
  }
  std::ranges::stable_sort(members, {}, &ConfigMember::place);
  return members;
}

// The library bounds the depth (TOML_MAX_NESTED_VALUES), so this recursion is bounded too.
ConfigNode convert(const toml::node& node) {
  ConfigNode out{.place = place_of(node.source()), .value = OtherValue{}};
  if (const auto* text = node.as_string()) {
    out.value = text->get();
  } else if (const auto* number = node.as_integer()) {
    out.value = number->get();
  } else if (const auto* boolean = node.as_boolean()) {
    out.value = boolean->get();
  } else if (const auto* array = node.as_array()) {
    ConfigArray items;
    for (const auto& item : *array) items.push_back(convert(item));
    out.value = std::move(items);
  } else if (const auto* table = node.as_table()) {
    out.value = convert_table(*table);
  }
  return out;
}

}  // namespace

std::string_view ConfigNode::type_name() const {
  switch (value.index()) {
    case 0:
      return "a string";
    case 1:
      return "a whole number";
    case 2:
      return "true or false";
    case 3:
      return "a list";
    case 4:
      return "a table";
    default:
      return "a number with a fraction or a date";
  }
}

Result<ConfigTable, ConfigError> parse_toml(std::string_view text, const std::string& path) {
  const toml::parse_result parsed = toml::parse(text);
  if (!parsed) {
    const toml::parse_error& error = parsed.error();
    const Place place = place_of(error.source());
    return std::unexpected(
        ConfigError{.file = path,
                    .line = place.line,
                    .column = place.column,
                    .key = {},
                    .text = "not valid TOML: " + std::string(error.description())});
  }
  return convert_table(parsed.table());
}

}  // namespace masque
