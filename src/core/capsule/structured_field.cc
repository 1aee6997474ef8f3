// SPDX-License-Identifier: Apache-2.0
#include "core/capsule/structured_field.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <format>
#include <utility>

namespace masque {

namespace {

bool is_lower(char c) { return c >= 'a' && c <= 'z'; }
bool is_alpha(char c) { return is_lower(c) || (c >= 'A' && c <= 'Z'); }
bool is_digit(char c) { return c >= '0' && c <= '9'; }

bool is_token_start(char c) { return is_alpha(c) || c == '*'; }
bool is_token_char(char c) {
  constexpr std::string_view kOthers = "!#$%&'*+-.^_`|~:/";  // tchar of RFC 9110 5.6.2, ":" and "/"
  return is_alpha(c) || is_digit(c) || kOthers.contains(c);
}
bool is_token(std::string_view text) {
  return !text.empty() && is_token_start(text[0]) && std::ranges::all_of(text, is_token_char);
}

struct BareItem {
  enum class Type : uint8_t { Boolean, Number, String, Token, ByteSequence };
  Type type = Type::Boolean;
  int64_t number = 0;  // of a decimal: its whole part
  std::string text;    // String without escapes, Token
};

// The parts of RFC 8941 4.2 that items and flat lists need. Every step returns false on a syntax
// error.
class FieldParser {
 public:
  explicit FieldParser(std::string_view text) : rest_(text) {}

  bool at_end() const { return rest_.empty(); }
  void skip_spaces() {
    while (!rest_.empty() && rest_.front() == ' ') rest_.remove_prefix(1);
  }
  void skip_optional_whitespace() {
    while (!rest_.empty() && (rest_.front() == ' ' || rest_.front() == '\t'))
      rest_.remove_prefix(1);
  }
  bool skip(char c) {
    if (!rest_.starts_with(c)) return false;
    rest_.remove_prefix(1);
    return true;
  }

  bool bare_item(BareItem& out) {
    if (rest_.empty()) return false;
    const char c = rest_.front();
    if (c == '?') return boolean(out);
    if (c == '"') return string(out);
    if (c == ':') return byte_sequence(out);
    if (c == '-' || is_digit(c)) return number(out);
    if (!is_token_start(c)) return false;
    out.type = BareItem::Type::Token;
    out.text = take_while(is_token_char);
    return true;
  }

  // Calls on_parameter(key, value) for each ";key=value"; a key without value is true.
  template <class OnParameter>
  bool parameters(OnParameter on_parameter) {
    while (skip(';')) {
      skip_spaces();
      if (rest_.empty() || !(is_lower(rest_.front()) || rest_.front() == '*')) return false;
      const std::string_view key = take_while([](char c) {
        return is_lower(c) || is_digit(c) || std::string_view("_-.*").contains(c);
      });
      BareItem value;
      if (skip('=') && !bare_item(value)) return false;
      on_parameter(key, value);
    }
    return true;
  }

 private:
  template <class Predicate>
  std::string_view take_while(Predicate predicate) {
    const auto end = std::ranges::find_if_not(rest_, predicate);
    const std::string_view out = rest_.substr(0, static_cast<size_t>(end - rest_.begin()));
    rest_.remove_prefix(out.size());
    return out;
  }

  bool boolean(BareItem& out) {
    if (!rest_.starts_with("?0") && !rest_.starts_with("?1")) return false;
    out.type = BareItem::Type::Boolean;
    rest_.remove_prefix(2);
    return true;
  }

  bool string(BareItem& out) {
    out.type = BareItem::Type::String;
    out.text.clear();
    rest_.remove_prefix(1);
    while (!rest_.empty()) {
      char c = rest_.front();
      rest_.remove_prefix(1);
      if (c == '"') return true;
      if (c < 0x20 || c > 0x7e) return false;
      if (c == '\\') {
        if (rest_.empty() || (rest_.front() != '"' && rest_.front() != '\\')) return false;
        c = rest_.front();
        rest_.remove_prefix(1);
      }
      out.text += c;
    }
    return false;
  }

  bool byte_sequence(BareItem& out) {
    out.type = BareItem::Type::ByteSequence;
    rest_.remove_prefix(1);
    take_while(
        [](char c) { return is_alpha(c) || is_digit(c) || c == '+' || c == '/' || c == '='; });
    return skip(':');
  }

  // Integer of at most 15 digits, or decimal of at most 12 and 3.
  bool number(BareItem& out) {
    out.type = BareItem::Type::Number;
    const bool negative = skip('-');
    const std::string_view digits = take_while(is_digit);
    if (digits.empty() || digits.size() > 15) return false;
    std::from_chars(digits.data(), digits.data() + digits.size(), out.number);
    if (negative) out.number = -out.number;
    if (!skip('.')) return true;
    const std::string_view fraction = take_while(is_digit);
    return digits.size() <= 12 && !fraction.empty() && fraction.size() <= 3;
  }

  std::string_view rest_;
};

struct ErrorRow {
  std::string_view token;
  uint16_t status;
};
// In the order of ProxyError; statuses of RFC 9209 2.3.
constexpr std::array<ErrorRow, 23> kErrors{{
    {"dns_timeout", 504},
    {"dns_error", 502},
    {"destination_not_found", 500},
    {"destination_unavailable", 503},
    {"destination_ip_prohibited", 502},
    {"destination_ip_unroutable", 502},
    {"connection_refused", 502},
    {"connection_terminated", 502},
    {"connection_timeout", 504},
    {"connection_read_timeout", 504},
    {"connection_write_timeout", 504},
    {"connection_limit_reached", 503},
    {"tls_protocol_error", 502},
    {"tls_certificate_error", 502},
    {"tls_alert_received", 502},
    {"http_request_error", 0},
    {"http_request_denied", 403},
    {"http_upgrade_failed", 502},
    {"http_protocol_error", 502},
    {"proxy_internal_response", 0},
    {"proxy_internal_error", 500},
    {"proxy_configuration_error", 500},
    {"proxy_loop_detected", 502},
}};

std::string quoted(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    out += c < 0x20 || c > 0x7e ? '?' : c;  // an sf-string is printable ASCII
  }
  return out + '"';
}

void apply_parameter(std::string_view key, const BareItem& value, ProxyStatus& out) {
  const bool is_text = value.type == BareItem::Type::String || value.type == BareItem::Type::Token;
  if (key == "error" && value.type == BareItem::Type::Token) {
    out.error_token = value.text;
    out.error = proxy_error_from_token(value.text);
  } else if (key == "details" && value.type == BareItem::Type::String) {
    out.details = value.text;
  } else if (key == "rcode" && value.type == BareItem::Type::String) {
    out.rcode = value.text;
  } else if (key == "next-hop" && is_text) {
    out.next_hop = value.text;
  } else if (key == "received-status" && value.type == BareItem::Type::Number &&
             value.number >= 100 && value.number <= 599) {
    out.received_status = static_cast<uint16_t>(value.number);
  }
}

}  // namespace

std::string_view to_token(ProxyError error) { return kErrors[static_cast<size_t>(error)].token; }

std::optional<ProxyError> proxy_error_from_token(std::string_view token) {
  const auto row = std::ranges::find(kErrors, token, &ErrorRow::token);
  if (row == kErrors.end()) return std::nullopt;
  return static_cast<ProxyError>(row - kErrors.begin());
}

uint16_t recommended_status(ProxyError error) { return kErrors[static_cast<size_t>(error)].status; }

std::string to_field(const ProxyStatus& status) {
  std::string out = is_token(status.proxy) ? status.proxy : quoted(status.proxy);
  if (is_token(status.error_token)) {
    out += "; error=" + status.error_token;
  } else if (status.error) {
    out += std::format("; error={}", to_token(*status.error));
  }
  if (!status.rcode.empty()) out += "; rcode=" + quoted(status.rcode);
  if (!status.next_hop.empty()) out += "; next-hop=" + quoted(status.next_hop);
  if (status.received_status) out += std::format("; received-status={}", *status.received_status);
  if (!status.details.empty()) out += "; details=" + quoted(status.details);
  return out;
}

std::string append_member(std::string_view field, const ProxyStatus& status) {
  if (field.empty()) return to_field(status);
  return std::format("{}, {}", field, to_field(status));
}

Result<std::vector<ProxyStatus>> parse_proxy_status(std::string_view field) {
  if (field.size() > kStructuredFieldMax) return std::unexpected(WireError::TooLong);
  std::vector<ProxyStatus> out;
  FieldParser in(field);
  in.skip_spaces();
  while (!in.at_end()) {
    if (out.size() == kProxyStatusMembersMax) return std::unexpected(WireError::TooMany);
    BareItem name;
    if (!in.bare_item(name)) return std::unexpected(WireError::BadSyntax);
    // RFC 9209 2: the member's value is a Token or a String.
    if (name.type != BareItem::Type::Token && name.type != BareItem::Type::String) {
      return std::unexpected(WireError::BadSyntax);
    }
    ProxyStatus status{.proxy = name.text};
    const bool parsed = in.parameters(
        [&](std::string_view key, const BareItem& value) { apply_parameter(key, value, status); });
    if (!parsed) return std::unexpected(WireError::BadSyntax);
    out.push_back(std::move(status));
    in.skip_optional_whitespace();
    if (in.at_end()) break;
    if (!in.skip(',')) return std::unexpected(WireError::BadSyntax);
    in.skip_optional_whitespace();
    if (in.at_end()) return std::unexpected(WireError::BadSyntax);  // a comma at the end
  }
  return out;
}

}  // namespace masque
