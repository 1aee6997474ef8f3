// SPDX-License-Identifier: Apache-2.0
// "TEMPLATE\nPATH\nTARGET\nIPPROTO": a template that is accepted expands to a path that it matches.
#include <string>

#include "base/bytes.h"
#include "core/capsule/uri_template.h"

using namespace masque;

namespace {

std::string_view line(std::string_view& text) {
  const std::string_view out = text.substr(0, text.find('\n'));
  text.remove_prefix(std::min(out.size() + 1, text.size()));
  return out;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::string_view text = as_text(Bytes(data, size));
  const std::string_view template_text = line(text);
  const std::string_view path = line(text);
  std::string target(line(text));
  std::string ipproto(text);
  if (target.empty()) target = "*";
  if (ipproto.empty()) ipproto = "*";

  (void)UriTemplate::well_known(template_text);
  const auto parsed = UriTemplate::parse(template_text);
  if (!parsed) return 0;
  MASQUE_ASSERT(!parsed->scheme().empty() && !parsed->authority().empty());
  if (const auto values = parsed->match_path(path)) {
    MASQUE_ASSERT(values->target.value_or("").size() <= path.size());
  }
  const UriTemplate::Values values{.target = target, .ipproto = ipproto};
  const std::string expanded = parsed->expand_path(values);
  MASQUE_ASSERT(expanded.starts_with('/'));
  for (const char c : expanded) MASQUE_ASSERT(c > 0x20 && c < 0x7f);
  // Templates that can be ambiguous (adjacent expressions) need not match; the default one always
  // does.
  static const UriTemplate kDefault = UriTemplate::well_known("h").value();
  const std::string default_path = kDefault.expand_path(values);
  if (default_path.size() <= kRequestPathMax)
    MASQUE_ASSERT(kDefault.match_path(default_path) == values);
  return 0;
}
