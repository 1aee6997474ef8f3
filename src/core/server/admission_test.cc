// SPDX-License-Identifier: Apache-2.0
#include "core/server/admission.h"

#include <gtest/gtest.h>

#include "core/tunnel/test_packets.h"

namespace masque {
namespace {

using test::net;

TokenHash fake_hash(Bytes token) {
  TokenHash hash{};
  for (size_t i = 0; i < token.size(); ++i) hash[i % hash.size()] ^= token[i];
  return hash;
}

UriTemplate default_template() {
  return UriTemplate::parse("https://x/.well-known/masque/ip/{target}/{ipproto}/").value();
}

Admission make_admission(
    Admission::Authentication authentication = Admission::Authentication::Certificate) {
  return Admission({.authentication = authentication, .hash_token = &fake_hash},
                   default_template());
}

PolicySnapshot policy() {
  PolicySnapshot snapshot;
  snapshot.clients["anna"] = {};
  snapshot.clients["bert"] = {.enabled = Permission::Deny};
  snapshot.clients["carl"] = {.fingerprints = {Fingerprint{1}}};
  snapshot.tokens = {{.hash = fake_hash(as_bytes("secret")), .identity = "anna"},
                     {.hash = fake_hash(as_bytes("stale")), .identity = "bert"}};
  snapshot.revoked = {Fingerprint{9}};
  return snapshot;
}

PeerCertificate certificate(std::string name, uint8_t fingerprint = 1) {
  return {
      .present = true, .common_name = std::move(name), .names = {}, .fingerprint = {fingerprint}};
}

HeaderFields request(std::string path = "/.well-known/masque/ip/%2A/%2A/") {
  return {{":method", "CONNECT"},     {":protocol", "connect-ip"},
          {":scheme", "https"},       {":authority", "vpn.example:4433"},
          {":path", std::move(path)}, {"capsule-protocol", "?1"}};
}
HeaderFields with(HeaderFields fields, std::string_view name, std::string value) {
  for (HeaderField& field : fields) {
    if (field.name == name) {
      field.value = std::move(value);
      return fields;
    }
  }
  fields.push_back({std::string(name), std::move(value)});
  return fields;
}
HeaderFields without(HeaderFields fields, std::string_view name) {
  std::erase_if(fields, [&](const HeaderField& f) { return f.name == name; });
  return fields;
}

unsigned status_of(const HeaderFields& fields) {
  const auto admitted = make_admission().check(fields, certificate("anna"), policy());
  return admitted ? 200 : admitted.error().status;
}

// proves: Q2, Q9, C3, C4
TEST(Admission, rfc9484_4_5_the_form_of_the_request) {
  EXPECT_EQ(status_of(request()), 200u);
  EXPECT_EQ(status_of(with(request(), ":method", "GET")), 405u);
  EXPECT_EQ(status_of(without(request(), ":protocol")),
            400u);  // a plain CONNECT gets no TCP tunnel
  EXPECT_EQ(status_of(with(request(), ":protocol", "connect-udp")), 501u);
  EXPECT_EQ(status_of(with(request(), ":scheme", "http")), 400u);
  EXPECT_EQ(status_of(without(request(), ":scheme")), 400u);
  EXPECT_EQ(status_of(with(request(), ":path", "")), 400u);
  EXPECT_EQ(status_of(without(request(), ":path")), 400u);
  EXPECT_EQ(status_of(without(request(), ":authority")), 400u);
  EXPECT_EQ(status_of(with(request(), ":path", "/")), 404u);
}

// proves: Q3, H19
TEST(Admission, rfc9297_3_4_capsule_protocol_may_be_absent) {
  EXPECT_EQ(status_of(without(request(), "capsule-protocol")), 200u);
  EXPECT_EQ(status_of(with(request(), "capsule-protocol", "?0")), 200u);
}

// proves: Q6, H16
TEST(Admission, rfc9297_3_2_content_on_a_capsule_stream_is_malformed) {
  EXPECT_EQ(status_of(with(request(), "content-length", "0")), 400u);
  EXPECT_EQ(status_of(with(request(), "content-type", "text/plain")), 400u);
  EXPECT_EQ(status_of(with(request(), "transfer-encoding", "chunked")), 400u);
}

// proves: T8, S1, S2, S4
TEST(Admission, rfc9484_4_6_scopes_of_the_default_path) {
  const auto scope_of = [](std::string path) {
    return make_admission().check(request(std::move(path)), certificate("anna"), policy())->scope;
  };
  EXPECT_EQ(scope_of("/.well-known/masque/ip/*/*/"), Scope{});
  EXPECT_EQ(scope_of("/.well-known/masque/ip/%2A/%2a/"), Scope{});
  EXPECT_EQ(
      scope_of("/.well-known/masque/ip/192.0.2.0%2F24/17/"),
      (Scope{.target = Scope::Target::Prefix, .prefix = net("192.0.2.0/24"), .protocol = 17}));
  EXPECT_EQ(scope_of("/.well-known/masque/ip/2001%3Adb8%3A%3A42/*/"),
            (Scope{.target = Scope::Target::Prefix, .prefix = net("2001:db8::42/128")}));
  EXPECT_EQ(scope_of("/.well-known/masque/ip/target.example.com/6/").name, "target.example.com");
}

// proves: S3, S5, S11
TEST(Admission, faults_d8_invalid_scopes_are_malformed) {
  for (const char* path :
       {"/.well-known/masque/ip/*/256/", "/.well-known/masque/ip/*/-1/",
        "/.well-known/masque/ip/192.0.2.1%2F24/*/", "/.well-known/masque/ip/192.0.2.0%2F33/*/",
        "/.well-known/masque/ip/fe80%3A%3A1%25eth0/*/", "/.well-known/masque/ip/%2/*/",
        "/.well-known/masque/ip/192.0.2.0%2F/*/"}) {
    EXPECT_EQ(status_of(request(path)), 400u) << path;
  }
  EXPECT_EQ(status_of(request("/.well-known/masque/ip/*/0/")), 403u);
}

// proves: Z1
TEST(Admission, rfc9484_11_only_known_identities) {
  const auto status = [](const PeerCertificate& peer) {
    const auto admitted = make_admission().check(request(), peer, policy());
    return admitted ? 200 : admitted.error().status;
  };
  EXPECT_EQ(status(certificate("anna")), 200u);
  EXPECT_EQ(status(certificate("carl", 1)), 200u);
  EXPECT_EQ(status({}), 403u);
  EXPECT_EQ(status(certificate("nobody")), 403u);
  EXPECT_EQ(status(certificate("bert")), 403u);     // disabled
  EXPECT_EQ(status(certificate("anna", 9)), 403u);  // revoked certificate
  EXPECT_EQ(status(certificate("carl", 2)), 403u);  // another certificate of the same name
  EXPECT_EQ(status(certificate(std::string(10'000, 'a'))), 403u);
  PeerCertificate by_name = certificate("x");
  by_name.names = {"anna"};
  EXPECT_EQ(status(by_name), 200u);
}

TEST(Admission, unknown_identities_may_be_admitted_by_configuration) {
  PolicySnapshot open = policy();
  open.unknown_clients = ClientPolicy{};
  const auto admitted = make_admission().check(request(), certificate("nobody"), open);
  ASSERT_TRUE(admitted);
  EXPECT_EQ(admitted->identity, "nobody");
  EXPECT_FALSE(make_admission().check(request(), certificate("bert"), open));
}

// proves: Z1
TEST(Admission, rfc6750_bearer_tokens) {
  const auto status = [](const HeaderFields& fields, const PeerCertificate& peer = {}) {
    const auto admitted =
        make_admission(Admission::Authentication::CertificateOrToken).check(fields, peer, policy());
    return admitted ? 200 : admitted.error().status;
  };
  EXPECT_EQ(status(with(request(), "authorization", "Bearer secret")), 200u);
  EXPECT_EQ(status(with(request(), "authorization", "bearer  secret")), 200u);
  EXPECT_EQ(status(with(request(), "authorization", "Bearer secreT")), 401u);
  EXPECT_EQ(status(with(request(), "authorization", "Bearer ")), 401u);
  EXPECT_EQ(status(with(request(), "authorization", "Basic secret")), 401u);
  EXPECT_EQ(status(with(request(), "authorization", "Bearer stale")), 403u);
  EXPECT_EQ(status(request()), 401u);
  EXPECT_EQ(status(request(), certificate("anna")), 200u);
  EXPECT_EQ(status(with(request(), "authorization", "Bearer secret"), certificate("nobody")), 200u);
  // Where only certificates count, a token is of no use.
  EXPECT_FALSE(
      make_admission().check(with(request(), "authorization", "Bearer secret"), {}, policy()));
}

TEST(Admission, rfc6750_tokens_at_the_limit_and_past_it) {
  const auto details = [](size_t size) {
    const auto fields = with(request(), "authorization", "Bearer " + std::string(size, 'x'));
    const auto admitted =
        make_admission(Admission::Authentication::Token).check(fields, {}, policy());
    return admitted ? std::string() : admitted.error().details;
  };
  EXPECT_EQ(details(4096), "the bearer token is not valid");
  EXPECT_EQ(details(4097), "a bearer token is required");  // not even looked at
}

TEST(Admission, where_only_tokens_count_a_certificate_is_of_no_use) {
  const Admission admission = make_admission(Admission::Authentication::Token);
  const auto admitted = admission.check(request(), certificate("anna"), policy());
  ASSERT_FALSE(admitted);
  EXPECT_EQ(admitted.error().status, 401u);
}

TEST(Admission, rfc9110_7_4_requests_for_other_origins_are_misdirected) {
  PolicySnapshot ours = policy();
  ours.authorities = {"vpn.example", "*.vpn.example", "192.0.2.1", "2001:db8::1"};
  const Admission admission = make_admission();
  const auto status = [&](std::string authority, std::optional<IpAddress> local = {}) {
    const auto admitted = admission.check(with(request(), ":authority", std::move(authority)),
                                          certificate("anna"), ours, local);
    return admitted ? 200 : admitted.error().status;
  };
  for (const char* authority :
       {"vpn.example", "vpn.example:4433", "VPN.Example:443", "a.vpn.example", "192.0.2.1:4433",
        "192.0.2.1", "[2001:db8::1]:443", "[2001:DB8:0::0:1]"}) {
    EXPECT_EQ(status(authority), 200u) << authority;
  }
  for (const char* authority :
       {"other.example", "vpn.example.org", "xvpn.example", "a.b.vpn.example", ".vpn.example",
        "192.0.2.2:4433", "[2001:db8::2]:443", "[2001:db8::1", "*.vpn.example.org", ":4433"}) {
    EXPECT_EQ(status(authority), 421u) << authority;
  }
  // Whoever dials an address names it, also one that no certificate has.
  EXPECT_EQ(status("198.51.100.7:4433", *IpAddress::parse("198.51.100.7")), 200u);
  EXPECT_EQ(status("198.51.100.8:4433", *IpAddress::parse("198.51.100.7")), 421u);
  EXPECT_EQ(status("other.example", *IpAddress::parse("198.51.100.7")), 421u);
  ours.authorities.clear();
  EXPECT_EQ(status("other.example"), 200u);
}

// proves: PS1, H19
TEST(Admission, rfc9209_refusals_say_why) {
  const HeaderFields fields = refusal_fields(
      {.status = 401, .error = ProxyError::HttpRequestDenied, .details = "no token"}, "vpn1");
  EXPECT_EQ(find_field(fields, ":status"), "401");
  EXPECT_EQ(find_field(fields, "proxy-status"),
            "vpn1; error=http_request_denied; details=\"no token\"");
  EXPECT_EQ(find_field(fields, "www-authenticate"), "Bearer");
  EXPECT_FALSE(find_field(fields, "capsule-protocol"));  // RFC 9297 3.4: never on a refusal
}

TEST(Admission, revocation_looks_at_identity_certificate_and_token) {
  const PolicySnapshot snapshot = policy();
  const Credential good{.fingerprint = Fingerprint{1}, .token = std::nullopt};
  EXPECT_FALSE(reason_to_revoke("anna", good, snapshot));
  EXPECT_TRUE(reason_to_revoke("bert", good, snapshot));
  EXPECT_TRUE(reason_to_revoke("gone", good, snapshot));
  EXPECT_TRUE(reason_to_revoke("anna", {.fingerprint = Fingerprint{9}}, snapshot));
  EXPECT_TRUE(reason_to_revoke("carl", {.fingerprint = Fingerprint{2}}, snapshot));
  EXPECT_FALSE(reason_to_revoke("anna", {.token = fake_hash(as_bytes("secret"))}, snapshot));
  EXPECT_TRUE(reason_to_revoke("anna", {.token = fake_hash(as_bytes("old"))}, snapshot));
}

TEST(Policy, constant_time_comparison_is_right) {
  EXPECT_TRUE(equal_constant_time(as_bytes("abc"), as_bytes("abc")));
  EXPECT_FALSE(equal_constant_time(as_bytes("abc"), as_bytes("abd")));
  EXPECT_FALSE(equal_constant_time(as_bytes("abc"), as_bytes("ab")));
  EXPECT_TRUE(equal_constant_time({}, {}));
}

}  // namespace
}  // namespace masque
