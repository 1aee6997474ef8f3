// SPDX-License-Identifier: Apache-2.0
// Our one JSON spelling, for the files of this folder that include nlohmann/json: arrays of
// prefixes and reading without exceptions.
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

}  // namespace masque
