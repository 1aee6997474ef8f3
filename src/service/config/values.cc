// SPDX-License-Identifier: Apache-2.0
#include "service/config/values.h"

#include <algorithm>
#include <format>
#include <set>

namespace masque {

namespace {

struct ValueText {
  std::string operator()(const std::string& text) const { return text; }
  std::string operator()(int64_t number) const { return std::to_string(number); }
  std::string operator()(bool value) const { return value ? "true" : "false"; }
  std::string operator()(const ConfigArray& list) const {
    std::string out = "[";
    for (const ConfigNode& item : list) out += value_text(item) + ",";
    return out + "]";
  }
  std::string operator()(const ConfigTable& table) const {
    std::string out = "{";
    for (const ConfigMember& member : table)
      out += member.key + "=" + value_text(member.node) + ",";
    return out + "}";
  }
  std::string operator()(const OtherValue&) const { return "?"; }
};

std::string_view value_of(const ConfigValues& values, const std::string& key) {
  const auto found = values.find(key);
  return found == values.end() ? std::string_view() : std::string_view(found->second);
}

}  // namespace

std::string value_text(const ConfigNode& node) { return std::visit(ValueText{}, node.value); }

std::vector<std::string> keys_for_restart(const ConfigValues& running, const ConfigValues& next,
                                          std::span<const std::string_view> applied) {
  std::set<std::string> keys;
  for (const auto& [key, value] : running) keys.insert(key);
  for (const auto& [key, value] : next) keys.insert(key);
  std::vector<std::string> out;
  for (const auto& key : keys) {
    if (std::ranges::contains(applied, std::string_view(key))) continue;
    if (value_of(running, key) != value_of(next, key)) out.push_back(key);
  }
  return out;
}

}  // namespace masque
