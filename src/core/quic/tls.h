// SPDX-License-Identifier: Apache-2.0
// TLS 1.3 under QUIC (RFC 9001) behind an interface: OpenSSL in production (tls_openssl.cc), a
// scripted handshake without cryptography in the simulator (null_tls.cc), so that runs repeat bit
// by bit.
#pragma once

#include <array>
#include <cstdint>
#include <expected>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "base/rng.h"
#include "core/path/path_protection.h"

struct ngtcp2_conn;
struct ngtcp2_callbacks;        // NOLINT(readability-identifier-naming)
struct ngtcp2_crypto_conn_ref;  // NOLINT(readability-identifier-naming)

namespace masque {

// What the peer proved with its certificate; `present` is false when it sent none.
struct PeerCertificate {
  bool present = false;
  std::string common_name;
  std::vector<std::string> names;         // subjectAltName: DNS and URI entries
  std::array<uint8_t, 32> fingerprint{};  // SHA-256 of the SubjectPublicKeyInfo: renewal keeps it
};

// Why a handshake failed: words for a person, empty when TLS is not to blame, and what was wrong
// with the peer's certificate, for those who know what to do about it.
enum class CertificateFault : uint8_t {
  None,
  Untrusted,  // no chain to a CA that we trust
  OtherName,  // good, but not for the name we asked for
  Expired,
  NotYetValid,
  Other,
};
struct TlsFailure {
  std::string text;
  CertificateFault certificate = CertificateFault::None;
};

class TlsSession {
 public:
  virtual ~TlsSession() = default;
  // Sets the handshake and packet protection callbacks, before the connection exists.
  virtual void install_callbacks(ngtcp2_callbacks& callbacks) = 0;
  // Ties the session to its connection; false when the library refuses.
  virtual bool bind(ngtcp2_conn* connection, ngtcp2_crypto_conn_ref* reference) = 0;
  // Known once the handshake is complete.
  virtual PeerCertificate peer_certificate() const = 0;
  virtual std::string cipher() const = 0;  // "TLS_AES_128_GCM_SHA256 X25519MLKEM768"
  virtual TlsFailure failure() const = 0;
  // Keying material bound to this connection (RFC 8446 7.5); false before the handshake is
  // complete.
  virtual bool export_key(std::string_view label, MutableBytes out) const = 0;
  // The path layer's cryptography under a secret of PathProtection::kSecretSize bytes.
  virtual std::unique_ptr<PathProtection> path_protection(Bytes secret) const = 0;
};

// Shared by all connections of an endpoint, immutable after creation.
class TlsContext {
 public:
  virtual ~TlsContext() = default;
  virtual std::unique_ptr<TlsSession> new_session() = 0;
};

enum class ClientCertificates : uint8_t { None, Optional, Required };

struct TlsServerOptions {
  std::string certificate_pem;  // leaf first, then its chain
  std::string key_pem;
  std::string client_ca_pem;  // who may sign client certificates
  ClientCertificates client_certificates = ClientCertificates::Required;
  std::function<void(std::string_view)> key_log;
};
struct TlsClientOptions {
  std::string server_name;      // checked against the certificate; an IP address is allowed
  std::string ca_pem;           // empty: the system's trust store
  std::string certificate_pem;  // empty: no client certificate
  std::string key_pem;
  enum class Verify : uint8_t { Full, InsecureSkip } verify = Verify::Full;
  std::function<void(std::string_view)> key_log;
};

// The error is a sentence that names the faulty piece and how to mend it.
std::expected<std::unique_ptr<TlsContext>, std::string> make_tls_server(
    const TlsServerOptions& options);
std::expected<std::unique_ptr<TlsContext>, std::string> make_tls_client(
    const TlsClientOptions& options);

}  // namespace masque
