// SPDX-License-Identifier: Apache-2.0
#include "service/watch/sparkline.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <string_view>

namespace masque {

namespace {

constexpr size_t kLevels = 8;
constexpr std::array<std::string_view, kLevels> kBlocks = {"▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
constexpr std::array<std::string_view, kLevels> kSigns = {"_", ".", ":", "-", "=", "+", "*", "#"};

size_t level_of(double value, double max) {
  if (!(value > 0) || !(max > 0)) return 0;
  // Whatever is there stands out from nothing.
  const double level = std::ceil(value / max * (kLevels - 1));
  return static_cast<size_t>(std::clamp(level, 1.0, static_cast<double>(kLevels - 1)));
}

}  // namespace

std::string sparkline(std::span<const std::optional<double>> values, double max, Charset charset) {
  const auto& bars = charset == Charset::Unicode ? kBlocks : kSigns;
  std::string out;
  for (const auto& value : values) out += value ? bars[level_of(*value, max)] : " ";
  return out;
}

}  // namespace masque
