// SPDX-License-Identifier: Apache-2.0
#include "core/capsule/uri_template.h"

#include <algorithm>
#include <charconv>
#include <span>
#include <utility>

#include "base/assert.h"

namespace masque {

namespace {

bool is_alpha(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }
bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_unreserved(char c) {
  return is_alpha(c) || is_digit(c) || c == '-' || c == '.' || c == '_' || c == '~';
}

int hex_value(char c) {
  if (is_digit(c)) return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

bool starts_with_escape(std::string_view text) {
  return text.size() >= 3 && text[0] == '%' && hex_value(text[1]) >= 0 && hex_value(text[2]) >= 0;
}

// RFC 3986 3.1.
bool is_scheme(std::string_view text) {
  return !text.empty() && is_alpha(text[0]) && std::ranges::all_of(text, [](char c) {
    return is_alpha(c) || is_digit(c) || c == '+' || c == '-' || c == '.';
  });
}

// host [":" port], without user information, which HTTP forbids (RFC 9110 4.2.4).
bool is_authority(std::string_view text) {
  constexpr std::string_view kSubDelims = "!$&'()*+,;=";
  std::string_view host = text;
  const size_t bracket = text.rfind(']');
  const size_t colon = text.find(':', bracket == std::string_view::npos ? 0 : bracket);
  if (colon != std::string_view::npos) {
    host = text.substr(0, colon);
    const std::string_view digits = text.substr(colon + 1);
    uint16_t port = 0;
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), port);
    if (error != std::errc{} || end != digits.data() + digits.size()) return false;
  }
  if (host.empty()) return false;
  if (host.front() == '[') {
    return host.size() > 2 && host.back() == ']' &&
           std::ranges::all_of(host.substr(1, host.size() - 2),
                               [](char c) { return hex_value(c) >= 0 || c == ':' || c == '.'; });
  }
  return std::ranges::all_of(
      host, [&](char c) { return is_unreserved(c) || c == '%' || kSubDelims.contains(c); });
}

// RFC 6570 2.1: what may stand outside of expressions.
bool is_literal(std::string_view text) {
  constexpr std::string_view kForbidden = "\"<>\\^`|}";
  for (size_t i = 0; i < text.size(); ++i) {
    if (kForbidden.contains(text[i])) return false;
    if (text[i] == '%' && !starts_with_escape(text.substr(i))) return false;
  }
  return true;
}

// RFC 6570 2.3, names with dots included.
bool is_variable_name(std::string_view text) {
  if (text.empty() || text.front() == '.' || text.back() == '.' || text.contains(".."))
    return false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (starts_with_escape(text.substr(i))) {
      i += 2;
    } else if (!is_alpha(c) && !is_digit(c) && c != '_' && c != '.') {
      return false;
    }
  }
  return true;
}

std::expected<std::vector<std::string>, TemplateFault> parse_variables(std::string_view list) {
  std::vector<std::string> out;
  while (true) {
    const size_t comma = list.find(',');
    const std::string_view name = list.substr(0, comma);
    if (name.contains(':') || name.ends_with('*'))
      return std::unexpected(TemplateFault::ModifierForbidden);
    if (!is_variable_name(name)) return std::unexpected(TemplateFault::BadExpression);
    if (out.size() == kUriTemplatePartsMax) return std::unexpected(TemplateFault::TooManyParts);
    out.emplace_back(name);
    if (comma == std::string_view::npos) return out;
    list.remove_prefix(comma + 1);
  }
}

const std::string* value_of(const UriTemplate::Values& values, std::string_view name) {
  const std::optional<std::string>* value = nullptr;
  if (name == "target") value = &values.target;
  if (name == "ipproto") value = &values.ipproto;
  return value != nullptr && *value ? &**value : nullptr;
}

// Collects what a path says about the variables.
class Bindings {
 public:
  void bind(std::string_view name, std::string_view raw) {
    std::optional<std::string> value = percent_decode(raw);
    if (!value) {
      bad_ = true;
      return;
    }
    std::optional<std::string>* slot = nullptr;
    if (name == "target") slot = &values_.target;
    if (name == "ipproto") slot = &values_.ipproto;
    if (slot == nullptr) return;
    if (*slot && **slot != *value) bad_ = true;
    *slot = std::move(value);
  }

  std::expected<UriTemplate::Values, MatchFault> take() {
    if (bad_) return std::unexpected(MatchFault::BadEncoding);
    return std::move(values_);
  }

 private:
  UriTemplate::Values values_;
  bool bad_ = false;
};

constexpr std::string_view kValueEnds = "/?#&";

// Where the value of a simple expression ends: at a delimiter, or at the literal that follows
// directly.
size_t simple_value_end(std::string_view rest, std::string_view next_literal) {
  const size_t end = std::min(rest.find_first_of(kValueEnds), rest.size());
  if (next_literal.empty() || kValueEnds.contains(next_literal[0])) return end;
  const std::string_view anchor = next_literal.substr(0, next_literal.find_first_of(kValueEnds));
  const size_t found = rest.substr(0, end).find(anchor);
  return found == std::string_view::npos ? end : found;
}

// {a,b}: values joined by commas, undefined ones at the end gone (RFC 6570 3.2.2).
void bind_simple(std::span<const std::string> variables, std::string_view text, Bindings& out) {
  for (size_t i = 0; i < variables.size(); ++i) {
    const bool last = i + 1 == variables.size();
    const size_t comma = last ? std::string_view::npos : text.find(',');
    out.bind(variables[i], text.substr(0, comma));
    if (comma == std::string_view::npos) return;
    text.remove_prefix(comma + 1);
  }
}

// name=value pairs in any order, each name known and at most once.
bool bind_pairs(std::vector<std::string_view> names, std::string_view pairs, Bindings& out) {
  while (true) {
    const std::string_view pair = pairs.substr(0, pairs.find('&'));
    const size_t equals = pair.find('=');
    const auto name = std::ranges::find(names, pair.substr(0, equals));
    if (equals == std::string_view::npos || name == names.end()) return false;
    out.bind(*name, pair.substr(equals + 1));
    names.erase(name);
    if (pair.size() == pairs.size()) return true;
    pairs.remove_prefix(pair.size() + 1);
  }
}

}  // namespace

std::string_view to_string(TemplateFault fault) {
  switch (fault) {
    case TemplateFault::TooLong:
      return "too long";
    case TemplateFault::BadCharacter:
      return "a character that is not allowed in a URI Template";
    case TemplateFault::NotAbsolute:
      return "not absolute: it must be scheme://authority/path";
    case TemplateFault::BadScheme:
      return "bad scheme";
    case TemplateFault::BadAuthority:
      return "bad authority: it must be HOST or HOST:PORT";
    case TemplateFault::PathNotRooted:
      return "the path must start with \"/\"";
    case TemplateFault::HasFragment:
      return "a fragment is not allowed";
    case TemplateFault::BadExpression:
      return "bad expression: braces must hold variable names";
    case TemplateFault::ForbiddenOperator:
      return "only {var}, {?var} and {&var} are allowed";
    case TemplateFault::ModifierForbidden:
      return "modifiers (:n and *) are not allowed";
    case TemplateFault::VariableOutside:
      return "variables are allowed in path and query only";
    case TemplateFault::TooManyParts:
      return "too many expressions";
  }
  std::unreachable();
}

std::string percent_encode(std::string_view raw) {
  constexpr std::string_view kDigits = "0123456789ABCDEF";
  std::string out;
  for (const char c : raw) {
    if (is_unreserved(c)) {
      out += c;
      continue;
    }
    const auto byte = static_cast<uint8_t>(c);
    out += '%';
    out += kDigits[byte >> 4];
    out += kDigits[byte & 15];
  }
  return out;
}

std::optional<std::string> percent_decode(std::string_view encoded) {
  std::string out;
  for (size_t i = 0; i < encoded.size(); ++i) {
    if (encoded[i] != '%') {
      out += encoded[i];
      continue;
    }
    if (!starts_with_escape(encoded.substr(i))) return std::nullopt;
    out += static_cast<char>(hex_value(encoded[i + 1]) << 4 | hex_value(encoded[i + 2]));
    i += 2;
  }
  return out;
}

std::expected<UriTemplate, TemplateFault> UriTemplate::parse(std::string_view text) {
  if (text.size() > kUriTemplateMax) return std::unexpected(TemplateFault::TooLong);
  // RFC 9484 3: only 0x21-0x7E.
  if (std::ranges::any_of(text, [](char c) { return c < 0x21 || c > 0x7e; })) {
    return std::unexpected(TemplateFault::BadCharacter);
  }
  const size_t colon = text.find("://");
  if (colon == std::string_view::npos) return std::unexpected(TemplateFault::NotAbsolute);
  const std::string_view scheme = text.substr(0, colon);
  const std::string_view rest = text.substr(colon + 3);
  const size_t authority_end = std::min(rest.find_first_of("/?#"), rest.size());
  const std::string_view authority = rest.substr(0, authority_end);
  if (scheme.contains('{') || authority.contains('{')) {
    return std::unexpected(TemplateFault::VariableOutside);
  }
  if (!is_scheme(scheme)) return std::unexpected(TemplateFault::BadScheme);
  if (!is_authority(authority)) return std::unexpected(TemplateFault::BadAuthority);
  const std::string_view path = rest.substr(authority_end);
  if (!path.starts_with('/')) return std::unexpected(TemplateFault::PathNotRooted);

  UriTemplate out;
  out.text_ = text;
  out.authority_ = authority;
  out.scheme_ = scheme;
  std::ranges::transform(out.scheme_, out.scheme_.begin(), [](char c) {
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  });
  if (auto parsed = out.parse_parts(path); !parsed) return std::unexpected(parsed.error());
  return out;
}

std::expected<void, TemplateFault> UriTemplate::parse_parts(std::string_view path) {
  while (!path.empty()) {
    if (parts_.size() == kUriTemplatePartsMax) return std::unexpected(TemplateFault::TooManyParts);
    if (path.front() != '{') {
      const std::string_view literal = path.substr(0, path.find('{'));
      if (literal.contains('}')) return std::unexpected(TemplateFault::BadExpression);
      if (literal.contains('#')) return std::unexpected(TemplateFault::HasFragment);
      if (!is_literal(literal)) return std::unexpected(TemplateFault::BadCharacter);
      parts_.push_back({.kind = PartKind::Literal, .literal = std::string(literal)});
      path.remove_prefix(literal.size());
      continue;
    }
    const size_t close = path.find('}');
    if (close == std::string_view::npos) return std::unexpected(TemplateFault::BadExpression);
    std::string_view expression = path.substr(1, close - 1);
    path.remove_prefix(close + 1);
    // RFC 9484 3 forbids + # . / ; and RFC 6570 2.2 reserves the others.
    constexpr std::string_view kForbiddenOperators = "+#./;=,!@|";
    if (expression.empty()) return std::unexpected(TemplateFault::BadExpression);
    if (kForbiddenOperators.contains(expression.front())) {
      return std::unexpected(TemplateFault::ForbiddenOperator);
    }
    PartKind kind = PartKind::Simple;
    if (expression.front() == '?') kind = PartKind::Query;
    if (expression.front() == '&') kind = PartKind::QueryContinuation;
    if (kind != PartKind::Simple) expression.remove_prefix(1);
    auto variables = parse_variables(expression);
    if (!variables) return std::unexpected(variables.error());
    parts_.push_back({.kind = kind, .literal = {}, .variables = std::move(*variables)});
  }
  return {};
}

std::expected<UriTemplate, TemplateFault> UriTemplate::well_known(std::string_view authority) {
  // Anything that could smuggle a path or an expression in is not an authority.
  if (!is_authority(authority)) return std::unexpected(TemplateFault::BadAuthority);
  return parse("https://" + std::string(authority) + "/.well-known/masque/ip/{target}/{ipproto}/");
}

bool UriTemplate::has_variable(std::string_view name) const {
  return std::ranges::any_of(
      parts_, [&](const Part& part) { return std::ranges::contains(part.variables, name); });
}

std::string UriTemplate::expand_path(const Values& values) const {
  std::string out;
  for (const Part& part : parts_) {
    out += part.literal;
    std::string_view separator = part.kind == PartKind::Query ? "?" : "&";
    if (part.kind == PartKind::Simple) separator = "";
    for (const std::string& name : part.variables) {
      const std::string* value = value_of(values, name);
      if (value == nullptr) continue;
      MASQUE_ASSERT(!value->empty());  // RFC 9484 3: `*` means any, empty means nothing
      out += separator;
      if (part.kind != PartKind::Simple) out += name + "=";
      out += percent_encode(*value);
      separator = part.kind == PartKind::Simple ? "," : "&";
    }
  }
  return out;
}

std::expected<UriTemplate::Values, MatchFault> UriTemplate::match_path(
    std::string_view raw_path) const {
  const auto no_match = std::unexpected(MatchFault::NoMatch);
  if (raw_path.size() > kRequestPathMax) return no_match;
  std::string_view rest = raw_path;
  Bindings bindings;
  for (size_t i = 0; i < parts_.size(); ++i) {
    const Part& part = parts_[i];
    if (part.kind == PartKind::Literal) {
      if (!rest.starts_with(part.literal)) return no_match;
      rest.remove_prefix(part.literal.size());
      continue;
    }
    if (part.kind == PartKind::Simple) {
      const bool literal_follows = i + 1 < parts_.size();
      const size_t end =
          simple_value_end(rest, literal_follows ? parts_[i + 1].literal : std::string_view());
      bind_simple(part.variables, rest.substr(0, end), bindings);
      rest.remove_prefix(end);
      continue;
    }
    // From the first query expression on, everything is name=value pairs.
    if (rest.empty()) return bindings.take();
    if (rest.front() != (part.kind == PartKind::Query ? '?' : '&')) return no_match;
    std::vector<std::string_view> names;
    for (const Part& later : std::span(parts_).subspan(i)) {
      if (later.kind == PartKind::Literal || later.kind == PartKind::Simple) return no_match;
      names.insert(names.end(), later.variables.begin(), later.variables.end());
    }
    if (!bind_pairs(std::move(names), rest.substr(1), bindings)) return no_match;
    return bindings.take();
  }
  if (!rest.empty()) return no_match;
  return bindings.take();
}

}  // namespace masque
