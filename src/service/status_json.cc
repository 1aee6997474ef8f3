// SPDX-License-Identifier: Apache-2.0
#include "service/status_json.h"

#include <algorithm>

namespace masque {

std::optional<Json> parse_json_object(std::string_view text) {
  int depth = 0;
  bool too_deep = false;
  const auto watch = [&](int level, Json::parse_event_t event, Json&) {
    if (event == Json::parse_event_t::object_start || event == Json::parse_event_t::array_start) {
      depth = std::max(depth, level);
      too_deep = too_deep || level >= kJsonDepthMax;
    }
    return !too_deep;
  };
  Json json = Json::parse(text, watch, /*allow_exceptions=*/false);
  if (json.is_discarded() || too_deep || !json.is_object()) return std::nullopt;
  return json;
}

std::string dump_json(const Json& json) {
  return json.dump(-1, ' ', /*ensure_ascii=*/false, Json::error_handler_t::replace);
}

Json to_json_array(const std::vector<IpPrefix>& prefixes) {
  Json out = Json::array();
  for (const auto& prefix : prefixes) out.push_back(prefix.to_string());
  return out;
}

double to_json_milliseconds(Duration duration) {
  const auto us = std::chrono::duration_cast<std::chrono::microseconds>(duration).count();
  return static_cast<double>(us) / 1000.0;
}

std::string text_member(const Json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_string() ? found->get<std::string>() : std::string();
}

double number_member(const Json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_number() ? found->get<double>() : 0;
}

Json child(const Json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() ? *found : Json();
}

double share(double part, double whole) { return whole > 0 ? part / whole : 0; }

}  // namespace masque
