// SPDX-License-Identifier: Apache-2.0
#include "core/path/path_offer.h"

#include <format>

#include "base/bytes.h"
#include "base/mutant.h"

namespace masque {

namespace {

// The next `;name="value"` of the item; nullopt at its end or where it is not well-formed.
struct Parameter {
  std::string_view name;
  std::string_view value;
};
std::optional<Parameter> take_parameter(std::string_view& from) {
  std::string_view rest = from;
  if (!rest.starts_with(';')) return std::nullopt;
  rest.remove_prefix(1);
  while (rest.starts_with(' ')) rest.remove_prefix(1);
  const size_t equals = rest.find("=\"");
  if (equals == std::string_view::npos) return std::nullopt;
  const size_t end = rest.find('"', equals + 2);
  if (end == std::string_view::npos) return std::nullopt;
  const Parameter out{.name = rest.substr(0, equals),
                      .value = rest.substr(equals + 2, end - equals - 2)};
  from = rest.substr(end + 1);
  return out;
}

}  // namespace

bool PathOffer::reads(ErasureCode code) const {
  switch (code) {
    case ErasureCode::Xor:
      return reads_xor;
    case ErasureCode::ReedSolomon:
      return reads_reed_solomon;
    case ErasureCode::SlidingWindow:
      return reads_sliding_window;
  }
  return false;
}

std::string PathOffer::to_field() const {
  std::string codes;
  for (const ErasureCode code :
       {ErasureCode::SlidingWindow, ErasureCode::ReedSolomon, ErasureCode::Xor}) {
    if (!reads(code)) continue;
    if (!codes.empty()) codes += ' ';
    codes += to_string(code);
  }
  return std::format("1;codes=\"{}\"", codes);
}

std::optional<PathOffer> PathOffer::parse(std::string_view field) {
  constexpr size_t kFieldMax = 512;
  if (field.size() > kFieldMax + (mutant("path_offer.limit") ? 1 : 0)) return std::nullopt;
  if (!field.starts_with('1') && !mutant("path_offer.version.remove")) return std::nullopt;
  field.remove_prefix(1);
  PathOffer out;
  out.reads_xor = out.reads_reed_solomon = out.reads_sliding_window = false;
  while (const auto parameter = take_parameter(field)) {
    if (parameter->name == "codes") {
      for (std::string_view rest = parameter->value; !rest.empty();) {
        const size_t end = std::min(rest.find(' '), rest.size());
        const auto code = parse_erasure_code(rest.substr(0, end));
        if (code == ErasureCode::Xor) out.reads_xor = true;
        if (code == ErasureCode::ReedSolomon) out.reads_reed_solomon = true;
        if (code == ErasureCode::SlidingWindow) out.reads_sliding_window = true;
        rest.remove_prefix(std::min(end + 1, rest.size()));
      }
    }  // others are for later versions
  }
  if (!field.empty()) return std::nullopt;
  return out;
}

}  // namespace masque
