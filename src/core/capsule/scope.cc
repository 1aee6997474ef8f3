// SPDX-License-Identifier: Apache-2.0
#include "core/capsule/scope.h"

#include <algorithm>
#include <charconv>

#include "base/mutant.h"

namespace masque {

namespace {

// reg-name of RFC 3986 3.2.2 after percent-decoding. A name whose last label is a number is
// refused: resolvers would read "127.1" or "0x7f.1" as an address that no rule has looked at.
bool is_reg_name(std::string_view text) {
  constexpr std::string_view kAllowed = "-._~!$&'()*+,;=";
  const auto allowed = [&](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           kAllowed.contains(c);
  };
  if (text.empty() || text.size() > kScopeNameMax || !std::ranges::all_of(text, allowed))
    return false;
  std::string_view last = text;
  if (last.ends_with('.')) last.remove_suffix(1);
  last = last.substr(last.rfind('.') + 1);  // npos + 1 == 0: the whole
  const bool hex = last.starts_with("0x") || last.starts_with("0X");
  if (mutant("scope.numeric_name.remove")) return true;
  return !last.empty() && !hex &&
         !std::ranges::all_of(last, [](char c) { return c >= '0' && c <= '9'; });
}

// RFC 9484 4.6: IPv6prefix / IPv4prefix / reg-name / "*".
Result<void> parse_target(std::string_view text, Scope& scope) {
  if (text == "*") return {};
  if (text.contains(':') || text.contains('/') || IpAddress::parse(text)) {
    TRY(scope.prefix, IpPrefix::parse(text));
    scope.target = Scope::Target::Prefix;
    return {};
  }
  if (!is_reg_name(text)) return std::unexpected(WireError::BadSyntax);
  scope.target = Scope::Target::Name;
  scope.name = text;
  return {};
}

Result<std::optional<uint8_t>> parse_protocol(std::string_view text) {
  if (text == "*") return std::nullopt;
  uint8_t protocol = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), protocol);
  if (text.size() > 3 || error != std::errc{} || end != text.data() + text.size()) {
    return std::unexpected(WireError::BadSyntax);
  }
  return protocol;
}

}  // namespace

Result<Scope> parse_scope(const UriTemplate::Values& values) {
  Scope scope;
  TRY_VOID(parse_target(values.target ? std::string_view(*values.target) : "*", scope));
  TRY(scope.protocol, parse_protocol(values.ipproto ? std::string_view(*values.ipproto) : "*"));
  return scope;
}

UriTemplate::Values to_values(const Scope& scope) {
  UriTemplate::Values values{.target = "*", .ipproto = "*"};
  if (scope.target == Scope::Target::Name) values.target = scope.name;
  if (scope.target == Scope::Target::Prefix) {
    const bool host = scope.prefix.length() == address_bits(scope.prefix.version());
    values.target = host ? scope.prefix.address().to_string() : scope.prefix.to_string();
  }
  if (scope.protocol) values.ipproto = std::to_string(*scope.protocol);
  return values;
}

}  // namespace masque
