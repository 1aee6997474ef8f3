// SPDX-License-Identifier: Apache-2.0
#include "core/client/response.h"

#include <charconv>
#include <format>

#include "base/mutant.h"
#include "core/capsule/structured_field.h"

namespace masque {
namespace {

unsigned parse_status(std::string_view text) {
  unsigned status = 0;
  const auto result = std::from_chars(text.data(), text.data() + text.size(), status);
  const bool whole = result.ec == std::errc{} && result.ptr == text.data() + text.size();
  return whole && text.size() == 3 ? status : 0;
}

// The nearest proxy's words come last (RFC 9209 2).
std::string proxy_words(const HeaderFields& fields) {
  const auto field = find_field(fields, "proxy-status");
  if (!field) return {};
  const auto members = parse_proxy_status(*field);
  if (!members || members->empty()) return {};
  const ProxyStatus& last = members->back();
  std::string words;
  if (!last.error_token.empty()) words = last.error_token;
  if (!last.details.empty()) words += (words.empty() ? "" : ": ") + last.details;
  return words;
}

}  // namespace

ResponseVerdict judge_response(const HeaderFields& fields) {
  const auto text = find_field(fields, ":status");
  const unsigned status = text ? parse_status(*text) : 0;
  ResponseVerdict verdict{.kind = ResponseVerdict::Kind::Malformed, .status = status};
  if (status / 100 == 2 || (mutant("response.status") && status / 100 == 4)) {
    // RFC 9297 3.2: these forbid the capsule protocol.
    if (status == 204 || status == 205 || status == 206) {
      verdict.reason = std::format("status {} cannot carry capsules", status);
      return verdict;
    }
    for (const std::string_view name : {"content-length", "content-type", "transfer-encoding"}) {
      if (!find_field(fields, name)) continue;
      verdict.reason = std::format("{} in the answer to CONNECT-IP", name);
      return verdict;
    }
    // Capsule-Protocol may be absent: some gateways never send it (protocol.md trap 8).
    verdict.kind = ResponseVerdict::Kind::Tunnel;
    return verdict;
  }
  if (status < 300) {
    verdict.reason = "the answer has no valid status";
    return verdict;
  }
  const bool later = status >= 500 ? status != 501 && status != 505
                                   : status == 408 || status == 425 || status == 429;
  verdict.kind = later ? ResponseVerdict::Kind::Later : ResponseVerdict::Kind::Refused;
  verdict.reason = std::format("the gateway answered {}", status);
  if (const std::string words = proxy_words(fields); !words.empty()) verdict.reason += ": " + words;
  return verdict;
}

}  // namespace masque
