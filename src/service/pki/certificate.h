// SPDX-License-Identifier: Apache-2.0
// Certificates and keys for a VPN that is its own authority: a CA, server and client certificates,
// all ECDSA P-256 with SHA-256, which every TLS 1.3 peer knows. Errors are sentences for people.
// Nothing here is kept: keys are returned as PEM texts, and the memory OpenSSL used is wiped by it.
#pragma once

#include <cstdint>
#include <expected>
#include <string>
#include <string_view>
#include <vector>

namespace masque {

template <class T>
using PkiResult = std::expected<T, std::string>;

constexpr int kCaDays = 3650;
constexpr int kServerDays = 3650;  // as long as the CA: nothing renews it by itself
constexpr int kClientDays = 1095;

struct Identity {
  std::string certificate_pem;
  std::string key_pem;      // PKCS#8
  std::string fingerprint;  // of the public key
};

struct CertificateInfo {
  std::string common_name;
  std::vector<std::string> dns_names;
  std::vector<std::string> addresses;
  std::vector<std::string> uris;
  std::string issuer;
  std::string serial;       // lower-case hex
  std::string fingerprint;  // SHA-256 of the SubjectPublicKeyInfo, lower-case hex
  int64_t not_before = 0;   // Unix seconds
  int64_t not_after = 0;
  enum class Role : uint8_t { Ca, Leaf };
  Role role = Role::Leaf;
  bool server_auth = false;  // fit to be a TLS server's, by its extended key usage
  bool client_auth = false;
};

PkiResult<Identity> make_ca(std::string_view name, int days = kCaDays);
// `names`: DNS names and IP addresses; the first is the common name.
PkiResult<Identity> make_server_certificate(const Identity& ca,
                                            const std::vector<std::string>& names,
                                            int days = kServerDays);
// CN and URI masque-vpn://user/NAME.
PkiResult<Identity> make_client_certificate(const Identity& ca, std::string_view name,
                                            int days = kClientDays);

// The first certificate of a PEM text.
PkiResult<CertificateInfo> read_certificate(std::string_view pem);
// That the key belongs to the certificate. Says so when a key is encrypted or not a key.
PkiResult<void> check_pair(std::string_view certificate_pem, std::string_view key_pem);
// That `now` (Unix seconds) lies within the certificate's time.
PkiResult<void> check_validity(const CertificateInfo& certificate, int64_t now);
PkiResult<void> check_issued_by(std::string_view certificate_pem, std::string_view ca_pem);
// As TLS clients match a name: DNS names with a wildcard in the first label, addresses exactly.
bool certificate_names(const CertificateInfo& certificate, std::string_view host);

std::string sha256_hex(std::string_view data);
// A bearer token: 256 random bits as text that is easy to find in a log or repository by its
// prefix.
std::string make_token();

}  // namespace masque
