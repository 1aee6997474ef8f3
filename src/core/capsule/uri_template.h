// SPDX-License-Identifier: Apache-2.0
// The URI Template that configures a CONNECT-IP proxy (RFC 9484 3, RFC 6570 up to level 3).
// A client expands it; a server matches a raw :path against its own. A UriTemplate is valid by
// construction: absolute, variables only in path and query, operators `{var}`, `{?a,b}`, `{&a}`.
#pragma once

#include <cstdint>
#include <expected>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace masque {

constexpr size_t kUriTemplateMax = 2048;  // bytes of a template
constexpr size_t kUriTemplatePartsMax = 32;
constexpr size_t kRequestPathMax = 4096;  // bytes of a :path that is matched

enum class TemplateFault : uint8_t {
  TooLong,
  BadCharacter,  // outside 0x21-0x7E
  NotAbsolute,   // no scheme, authority or path
  BadScheme,
  BadAuthority,
  PathNotRooted,  // path does not start with "/"
  HasFragment,
  BadExpression,      // unbalanced braces, empty or wrong variable name
  ForbiddenOperator,  // + # . / ; or reserved ones (RFC 9484 3)
  ModifierForbidden,  // :n and * are level 4
  VariableOutside,    // a variable in scheme, authority or fragment
  TooManyParts,
};
std::string_view to_string(TemplateFault fault);

enum class MatchFault : uint8_t {
  NoMatch,      // a path of something else: 404
  BadEncoding,  // the path matches but a value is not percent-encoded rightly: malformed (RFC
                // 9484 4.6)
};

class UriTemplate {
 public:
  // A variable that is not given is undefined and vanishes (RFC 6570 3.2.1).
  struct Values {
    std::optional<std::string> target;  // raw, never percent-encoded; never empty (T4)
    std::optional<std::string> ipproto;
    friend bool operator==(const Values&, const Values&) = default;
  };

  static std::expected<UriTemplate, TemplateFault> parse(std::string_view text);
  // https://AUTHORITY/.well-known/masque/ip/{target}/{ipproto}/ (RFC 9484 3).
  static std::expected<UriTemplate, TemplateFault> well_known(std::string_view authority);

  const std::string& scheme() const { return scheme_; }        // lower case
  const std::string& authority() const { return authority_; }  // as written
  // For :path: path and query, expanded.
  std::string expand_path(const Values& values) const;
  // Splits the raw path first and percent-decodes each value exactly once.
  std::expected<Values, MatchFault> match_path(std::string_view raw_path) const;
  bool has_variable(std::string_view name) const;
  const std::string& text() const { return text_; }

 private:
  enum class PartKind : uint8_t { Literal, Simple, Query, QueryContinuation };
  struct Part {
    PartKind kind = PartKind::Literal;
    std::string literal;
    std::vector<std::string> variables;
  };

  UriTemplate() = default;
  std::expected<void, TemplateFault> parse_parts(std::string_view path);

  std::string text_;
  std::string scheme_;
  std::string authority_;
  std::vector<Part> parts_;  // path and query
};

// RFC 3986 2.1. Unreserved characters pass, every other byte becomes %XX.
std::string percent_encode(std::string_view raw);
// nullopt for a `%` without two hex digits.
std::optional<std::string> percent_decode(std::string_view encoded);

}  // namespace masque
