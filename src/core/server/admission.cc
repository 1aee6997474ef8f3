// SPDX-License-Identifier: Apache-2.0
#include "core/server/admission.h"

#include <algorithm>
#include <format>

#include "base/mutant.h"
#include "core/ip/packet.h"

namespace masque {
namespace {

constexpr size_t kTokenMax = 4096;
constexpr size_t kIdentityMax = 256;

Refusal malformed(std::string details) {
  return {.status = 400, .error = ProxyError::HttpRequestError, .details = std::move(details)};
}
Refusal denied(std::string details) {
  return {.status = 403, .error = ProxyError::HttpRequestDenied, .details = std::move(details)};
}
Refusal unauthenticated(std::string details) {
  return {.status = 401, .error = ProxyError::HttpRequestDenied, .details = std::move(details)};
}

char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

bool equal_ignoring_case(std::string_view a, std::string_view b) {
  return std::ranges::equal(a, b, [](char x, char y) { return lower(x) == lower(y); });
}

// "host" of "host" and "host:port", "v6" of "[v6]" and "[v6]:port".
std::string_view host_of(std::string_view authority) {
  if (authority.starts_with('[')) {
    const size_t bracket = authority.find(']');
    return bracket == std::string_view::npos ? authority : authority.substr(1, bracket - 1);
  }
  return authority.substr(0, authority.find(':'));
}

// RFC 9525 6.3: "*." stands for one label, and stands first.
bool is_named_by(std::string_view host, std::string_view pattern) {
  if (pattern.starts_with("*.") && !mutant("authority.wildcard.remove")) {
    const size_t dot = host.find('.');
    return dot != std::string_view::npos && dot > 0 &&
           equal_ignoring_case(host.substr(dot), pattern.substr(1));
  }
  return equal_ignoring_case(host, pattern);
}

// RFC 9110 7.4: a request for an origin that our certificate is not valid for is rejected. Ports do
// not count, for there may be a NAT in front; nor does how an address is written.
bool is_our_authority(std::string_view authority, const std::vector<std::string>& ours,
                      const std::optional<IpAddress>& local) {
  if (ours.empty() || mutant("authority.remove")) return true;
  const std::string_view host = host_of(authority);
  if (const auto address = IpAddress::parse(host)) {
    return local == *address || std::ranges::any_of(ours, [&](const std::string& text) {
             const auto own = IpAddress::parse(text);
             return own && *own == *address;
           });
  }
  return std::ranges::any_of(
      ours, [&](const std::string& pattern) { return is_named_by(host, pattern); });
}

// RFC 6750 2.1, the scheme is case-insensitive (RFC 9110 11.1). nullopt: no bearer token.
std::optional<std::string_view> bearer_token(const HeaderFields& fields) {
  const auto field = find_field(fields, "authorization");
  constexpr std::string_view kScheme = "bearer ";
  if (!field || field->size() <= kScheme.size()) return std::nullopt;
  if (!equal_ignoring_case(field->substr(0, kScheme.size()), kScheme)) return std::nullopt;
  std::string_view token = field->substr(kScheme.size());
  while (!token.empty() && token.front() == ' ') token.remove_prefix(1);
  if (token.empty() || token.size() > kTokenMax + (mutant("token.size") ? 1 : 0))
    return std::nullopt;
  return token;
}

bool knows_fingerprint(const ClientPolicy& client, const Fingerprint& fingerprint) {
  return client.fingerprints.empty() || mutant("fingerprint.remove") ||
         std::ranges::find(client.fingerprints, fingerprint) != client.fingerprints.end();
}

}  // namespace

HeaderFields refusal_fields(const Refusal& refusal, std::string_view proxy) {
  HeaderFields fields = {{":status", std::format("{}", refusal.status)}};
  // RFC 9297 3.4: Capsule-Protocol is never on a refusal.
  fields.push_back({"proxy-status", to_field({.proxy = std::string(proxy),
                                              .error = refusal.error,
                                              .details = refusal.details})});
  if (refusal.status == 401) fields.push_back({"www-authenticate", "Bearer"});
  if (refusal.status == 405) fields.push_back({"allow", "CONNECT"});
  return fields;
}

Admission::Admission(Options options, UriTemplate uri_template)
    : options_(std::move(options)), template_(std::move(uri_template)) {}

std::expected<Admitted, Refusal> Admission::check(const HeaderFields& fields,
                                                  const PeerCertificate& certificate,
                                                  const PolicySnapshot& policy,
                                                  const std::optional<IpAddress>& local) const {
  if (auto refusal = check_form(fields)) return std::unexpected(std::move(*refusal));
  if (!is_our_authority(*find_field(fields, ":authority"), policy.authorities, local)) {
    return std::unexpected(Refusal{.status = 421,
                                   .error = ProxyError::HttpRequestError,
                                   .details = ":authority is not served here"});
  }
  TRY(const Scope scope, check_scope(*find_field(fields, ":path")));
  TRY(Admitted admitted, authenticate(fields, certificate, policy));
  admitted.scope = scope;
  return admitted;
}

std::optional<Refusal> Admission::check_form(const HeaderFields& fields) {
  const auto method = find_field(fields, ":method");
  const auto protocol = find_field(fields, ":protocol");
  const auto path = find_field(fields, ":path");
  const auto scheme = find_field(fields, ":scheme");
  const auto authority = find_field(fields, ":authority");
  if (method != "CONNECT") {
    return Refusal{.status = 405, .error = ProxyError::HttpRequestError, .details = "only CONNECT"};
  }
  // RFC 9220 3: a plain CONNECT would ask for a TCP tunnel to :authority; there is none here.
  if (!protocol) return malformed("CONNECT without :protocol");
  if (*protocol != "connect-ip") {
    return Refusal{
        .status = 501, .error = ProxyError::HttpRequestError, .details = "unknown :protocol"};
  }
  // RFC 9484 4.5: both present and not empty.
  if ((!scheme || *scheme != "https") && !mutant("request.scheme.remove"))
    return malformed(":scheme is not https");
  if (!path || path->empty()) return malformed("no :path");
  if (!authority || authority->empty()) return malformed("no :authority");
  // RFC 9484 4.5, RFC 9297 3.4: the stream carries capsules, not content.
  for (const std::string_view name : {"content-length", "content-type", "transfer-encoding"}) {
    if (find_field(fields, name) && !mutant("request.content.remove"))
      return malformed(std::format("{} on a capsule stream", name));
  }
  return std::nullopt;
}

std::expected<Scope, Refusal> Admission::check_scope(std::string_view path) const {
  const auto values = template_.match_path(path);
  if (!values) {
    if (values.error() == MatchFault::NoMatch) {
      return std::unexpected(
          Refusal{.status = 404, .error = ProxyError::HttpRequestError, .details = "no such path"});
    }
    return std::unexpected(malformed("bad percent-encoding in the path"));
  }
  // RFC 9484 4.6: validated after decoding; a fault makes the request malformed.
  auto scope = parse_scope(*values);
  if (!scope) return std::unexpected(malformed("bad target or ipproto"));
  // Route entries use 0 for "all protocols", and no packet has hop-by-hop options as its protocol.
  if (scope->protocol == ip_protocol::kHopByHop && !mutant("scope.protocol_0.remove")) {
    return std::unexpected(denied("ipproto 0 cannot be proxied"));
  }
  return std::move(*scope);
}

std::expected<Admitted, Refusal> Admission::authenticate(const HeaderFields& fields,
                                                         const PeerCertificate& certificate,
                                                         const PolicySnapshot& policy) const {
  const bool by_certificates =
      options_.authentication != Authentication::Token || mutant("certificate.unwanted");
  const bool by_tokens =
      options_.authentication != Authentication::Certificate && options_.hash_token != nullptr;
  const auto token = bearer_token(fields);
  if (by_certificates && certificate.present) {
    auto admitted = by_certificate(certificate, policy);
    if (admitted || !by_tokens || !token) return admitted;
  }
  if (!by_tokens && !mutant("certificate.required.remove"))
    return std::unexpected(denied("a client certificate is required"));
  if (!token) return std::unexpected(unauthenticated("a bearer token is required"));
  return by_token(*token, policy);
}

std::expected<Admitted, Refusal> Admission::by_certificate(const PeerCertificate& certificate,
                                                           const PolicySnapshot& policy) const {
  if (policy.is_revoked(certificate.fingerprint) && !mutant("certificate.revoked.remove")) {
    return std::unexpected(denied("the certificate is revoked"));
  }
  std::vector<std::string> names;
  if (!certificate.common_name.empty()) names.push_back(certificate.common_name);
  names.insert(names.end(), certificate.names.begin(), certificate.names.end());
  for (const std::string& name : names) {
    if (name.size() > kIdentityMax) continue;
    const ClientPolicy* client = policy.find(name);
    if (client == nullptr) continue;
    if (client->enabled == Permission::Deny && !mutant("certificate.disabled.remove"))
      return std::unexpected(denied("the identity is disabled"));
    if (!knows_fingerprint(*client, certificate.fingerprint)) {
      return std::unexpected(denied("another certificate stands for this identity"));
    }
    return Admitted{.identity = name, .credential = {.fingerprint = certificate.fingerprint}};
  }
  return std::unexpected(denied("the identity is unknown"));
}

std::expected<Admitted, Refusal> Admission::by_token(std::string_view token,
                                                     const PolicySnapshot& policy) const {
  const TokenHash hash = options_.hash_token(as_bytes(token));
  const auto identity = policy.identity_of(hash);
  if (!identity && mutant("token.unknown"))
    return Admitted{.identity = policy.clients.begin()->first};
  if (!identity) return std::unexpected(unauthenticated("the bearer token is not valid"));
  const ClientPolicy* client = policy.find(*identity);
  if (client == nullptr ||
      (client->enabled == Permission::Deny && !mutant("token.disabled.remove"))) {
    return std::unexpected(denied("the identity is disabled"));
  }
  return Admitted{.identity = *identity, .credential = {.token = hash}};
}

std::optional<std::string> reason_to_revoke(std::string_view identity, const Credential& credential,
                                            const PolicySnapshot& policy) {
  const ClientPolicy* client = policy.find(identity);
  if (client == nullptr) return "the identity is unknown";
  if (mutant("revoke.remove")) return std::nullopt;
  if (client->enabled == Permission::Deny && !mutant("revoke.identity.remove"))
    return "the identity is disabled";
  if (credential.fingerprint) {
    if (policy.is_revoked(*credential.fingerprint) && !mutant("revoke.certificate.remove"))
      return "the certificate is revoked";
    if (!knows_fingerprint(*client, *credential.fingerprint) &&
        !mutant("revoke.other_key.remove")) {
      return "another certificate stands for this identity";
    }
  }
  if (credential.token && policy.identity_of(*credential.token) != identity &&
      !mutant("revoke.token.remove")) {
    return "the bearer token is not valid any more";
  }
  return std::nullopt;
}

}  // namespace masque
