// SPDX-License-Identifier: Apache-2.0
// Who may open a CONNECT-IP session and for what scope: a pure decision over the request's fields,
// the peer's certificate and the policy (RFC 9484 4.1-4.8, RFC 9220 3, RFC 9297 3.4, RFC 9209).
//
//   form of the request (405, 501, 400, 404, 421) -> scope (400) -> identity (401, 403)
#pragma once

#include <cstdint>
#include <expected>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/capsule/scope.h"
#include "core/capsule/structured_field.h"
#include "core/capsule/uri_template.h"
#include "core/http/http_connection.h"
#include "core/path/path_offer.h"
#include "core/server/policy.h"

namespace masque {

// What the gateway has too little of, for those who know where it is set.
enum class Shortage : uint8_t { None, Sessions, Addresses };

struct Refusal {
  unsigned status = 400;
  std::optional<ProxyError> error;  // of Proxy-Status
  std::string details;              // for the client's operator; no secrets
  Shortage shortage = Shortage::None;
};
// The response to a refused request; `proxy` is our name in Proxy-Status.
HeaderFields refusal_fields(const Refusal& refusal, std::string_view proxy);

// How the identity was proven, so that a change of policy can judge it again.
struct Credential {
  std::optional<Fingerprint> fingerprint;
  std::optional<TokenHash> token;
};

struct Admitted {
  std::string identity;
  Credential credential;
  Scope scope;  // Target::Name has to be resolved before the answer
  std::optional<PathOffer> path_offer;
};

class Admission {
 public:
  enum class Authentication : uint8_t { Certificate, CertificateOrToken, Token };
  struct Options {
    Authentication authentication = Authentication::Certificate;
    TokenHash (*hash_token)(Bytes token) = nullptr;
  };

  Admission(Options options, UriTemplate uri_template);

  // `local`: the address of ours that the client has dialled, if it is known.
  std::expected<Admitted, Refusal> check(const HeaderFields& fields,
                                         const PeerCertificate& certificate,
                                         const PolicySnapshot& policy,
                                         const std::optional<IpAddress>& local = {}) const;

 private:
  static std::optional<Refusal> check_form(const HeaderFields& fields);
  std::expected<Scope, Refusal> check_scope(std::string_view path) const;
  std::expected<Admitted, Refusal> authenticate(const HeaderFields& fields,
                                                const PeerCertificate& certificate,
                                                const PolicySnapshot& policy) const;
  std::expected<Admitted, Refusal> by_certificate(const PeerCertificate& certificate,
                                                  const PolicySnapshot& policy) const;
  std::expected<Admitted, Refusal> by_token(std::string_view token,
                                            const PolicySnapshot& policy) const;
  Options options_;
  UriTemplate template_;
};

// Whether an admitted identity still is; the reason, if not.
std::optional<std::string> reason_to_revoke(std::string_view identity, const Credential& credential,
                                            const PolicySnapshot& policy);

}  // namespace masque
