// SPDX-License-Identifier: Apache-2.0
// A row of little bars: one cell a value, its height the value's part of `max`.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>

namespace masque {

enum class Charset : uint8_t { Unicode, Ascii };

// A missing value is a blank; what is not above zero has the lowest bar.
std::string sparkline(std::span<const std::optional<double>> values, double max, Charset charset);

}  // namespace masque
