// SPDX-License-Identifier: Apache-2.0
#include "core/capsule/structured_field.h"

#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <array>
#include <map>
#include <string_view>
#include <vector>

namespace masque {
namespace {

// proves: PS1
TEST(ProxyStatus, rfc9209_2_protocol_10_example) {
  const ProxyStatus status{.proxy = "vpn1", .error = ProxyError::DnsError, .rcode = "NXDOMAIN"};
  EXPECT_EQ(to_field(status), "vpn1; error=dns_error; rcode=\"NXDOMAIN\"");
  const auto parsed = parse_proxy_status(to_field(status)).value();
  ASSERT_EQ(parsed.size(), 1u);
  EXPECT_EQ(parsed[0].proxy, "vpn1");
  EXPECT_EQ(parsed[0].error, ProxyError::DnsError);
  EXPECT_EQ(parsed[0].rcode, "NXDOMAIN");
}

// proves: PS1
TEST(ProxyStatus, rfc9209_2_new_members_go_to_the_right) {
  const std::string field =
      append_member("a; error=dns_timeout", {.proxy = "b c", .details = "q\"\\\n"});
  EXPECT_EQ(field, "a; error=dns_timeout, \"b c\"; details=\"q\\\"\\\\?\"");
  const auto parsed = parse_proxy_status(field).value();
  ASSERT_EQ(parsed.size(), 2u);
  EXPECT_EQ(parsed[1].proxy, "b c");
  EXPECT_EQ(parsed[1].details, "q\"\\?");
  EXPECT_EQ(append_member("", {.proxy = "b"}), "b");
}

// proves: PS2
TEST(ProxyStatus, rfc9209_2_unknown_parameters_and_types_are_ignored) {
  const auto parsed = parse_proxy_status(
                          "p;new=1;error=future_error;received-status=403;next-hop=\"h\" ,\t "
                          "q;error=\"dns_error\";received-status=99")
                          .value();
  ASSERT_EQ(parsed.size(), 2u);
  EXPECT_EQ(parsed[0].error, std::nullopt);
  EXPECT_EQ(parsed[0].error_token, "future_error");
  EXPECT_EQ(parsed[0].received_status, 403);
  EXPECT_EQ(parsed[0].next_hop, "h");
  EXPECT_EQ(parsed[1], ProxyStatus{.proxy = "q"})
      << "parameters of a wrong type or value do not count";
}

TEST(ProxyStatus, bad_syntax_is_refused) {
  for (const std::string_view field : {",", "a,", "a,,b", "a b", "1", "?1", "(a b)", "a;", "\"a",
                                       "a;x=", "a;x=\"\\n\"", "\xc3\xa9"}) {
    EXPECT_EQ(parse_proxy_status(field).error(), WireError::BadSyntax) << field;
  }
  EXPECT_TRUE(parse_proxy_status("")->empty());
}

TEST(ProxyStatus, limits_at_and_past) {
  std::string field = "p";
  for (size_t i = 1; i < kProxyStatusMembersMax; ++i) field += ",p";
  EXPECT_EQ(parse_proxy_status(field)->size(), kProxyStatusMembersMax);
  EXPECT_EQ(parse_proxy_status(field + ",p").error(), WireError::TooMany);
  EXPECT_TRUE(parse_proxy_status(std::string(kStructuredFieldMax, 'p')));
  EXPECT_EQ(parse_proxy_status(std::string(kStructuredFieldMax + 1, 'p')).error(),
            WireError::TooLong);
}

// proves: PS1
TEST(ProxyStatus, protocol_10_errors_and_statuses) {
  // RFC 9209 2.3, by status; 0: that of the answer itself.
  const std::map<uint16_t, std::vector<std::string_view>> kTokens = {
      {0, {"http_request_error", "proxy_internal_response"}},
      {403, {"http_request_denied"}},
      {500, {"destination_not_found", "proxy_internal_error", "proxy_configuration_error"}},
      {502,
       {"dns_error", "destination_ip_prohibited", "destination_ip_unroutable", "connection_refused",
        "connection_terminated", "tls_protocol_error", "tls_certificate_error",
        "tls_alert_received", "http_upgrade_failed", "http_protocol_error", "proxy_loop_detected"}},
      {503, {"destination_unavailable", "connection_limit_reached"}},
      {504,
       {"dns_timeout", "connection_timeout", "connection_read_timeout",
        "connection_write_timeout"}},
  };
  size_t count = 0;
  for (const auto& [status, tokens] : kTokens) {
    for (const std::string_view token : tokens) {
      const auto error = proxy_error_from_token(token);
      ASSERT_TRUE(error) << token;
      EXPECT_EQ(to_token(*error), token);
      EXPECT_EQ(recommended_status(*error), status) << token;
      ++count;
    }
  }
  EXPECT_EQ(count, 23u);
  EXPECT_EQ(to_token(ProxyError::ConnectionLimitReached), "connection_limit_reached");
  EXPECT_EQ(to_token(ProxyError::ProxyLoopDetected), "proxy_loop_detected");
  EXPECT_FALSE(proxy_error_from_token("nonsense"));
}

TEST(ProxyStatus, property_round_trip_of_printable_text) {
  EXPECT_TRUE(rc::check([](const std::string& noise) {
    std::string text;
    for (const char c : noise) text += static_cast<char>(0x20 + static_cast<uint8_t>(c) % 95);
    const ProxyStatus status{.proxy = "p" + text,
                             .details = text,
                             .rcode = text,
                             .next_hop = text,
                             .received_status = 502};
    RC_ASSERT(parse_proxy_status(to_field(status)).value() == std::vector<ProxyStatus>{status});
  }));
}

}  // namespace
}  // namespace masque
