// SPDX-License-Identifier: Apache-2.0
// Our one JSON spelling, for the files of this folder that include nlohmann/json: arrays of
// prefixes, and reading without exceptions. What is read may come from a newer daemon or from
// anybody: a member that is missing or of another type is as if it were empty.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/ip/address.h"
#include "service/status.h"

namespace masque {

// Members keep the order they are written in, so that output is stable.
using Json = nlohmann::ordered_json;

// A deeply nested text must not exhaust the stack: our messages are flat.
constexpr int kJsonDepthMax = 16;
// nullopt unless it is one whole JSON object of at most that depth.
std::optional<Json> parse_json_object(std::string_view text);
// Never fails: bytes that are not UTF-8 are replaced.
std::string dump_json(const Json& json);
Json to_json_array(const std::vector<IpPrefix>& prefixes);
Json to_json_object(const ServiceStatus& status);
// Three decimals: microseconds are the finest that means anything.
double to_json_milliseconds(Duration duration);

std::string text_member(const Json& object, const char* key);
double number_member(const Json& object, const char* key);
Json child(const Json& object, const char* key);
// part / whole, 0 when there is no whole.
double share(double part, double whole);

}  // namespace masque
