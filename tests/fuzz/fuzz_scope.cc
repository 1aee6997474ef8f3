// SPDX-License-Identifier: Apache-2.0
// "TARGET\nIPPROTO" as a peer sends them, raw path segments included.
#include <string>

#include "base/bytes.h"
#include "core/capsule/scope.h"

using namespace masque;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text = as_text(Bytes(data, size));
  const size_t newline = text.find('\n');
  UriTemplate::Values values{.target = std::string(text.substr(0, newline))};
  if (newline != std::string_view::npos) values.ipproto = std::string(text.substr(newline + 1));

  if (const auto scope = parse_scope(values)) {
    const auto again = parse_scope(to_values(*scope));
    MASQUE_ASSERT(again && *again == *scope);
    if (scope->target == Scope::Target::Name) MASQUE_ASSERT(!IpAddress::parse(scope->name));
  }
  static const UriTemplate kDefault = UriTemplate::well_known("h").value();
  const std::string path = "/.well-known/masque/ip/" + std::string(text);
  if (const auto matched = kDefault.match_path(path)) {
    const auto scope = parse_scope(*matched);
    MASQUE_ASSERT(!scope || scope->name.size() <= kScopeNameMax);
  }
  return 0;
}
