// SPDX-License-Identifier: Apache-2.0
// A stand-in for TLS 1.3 under QUIC without any cryptography: for the simulator and for fuzzing
// only. The handshake has the shape of TLS (hello, hello, extensions, certificates, finished; the
// sizes are the caller's), packet protection is a copy and a 16-byte checksum over key, nonce,
// header and payload. So runs repeat bit by bit and cost a tenth, and yet:
//   - a changed byte or a packet under another key is refused, as an AEAD would refuse it;
//   - keys differ by direction, level, connection and key phase;
//   - Retry packets carry the real integrity tag (RFC 9001 5.8 has a public key).
// Anybody can forge these packets. Programs must never use it.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "core/quic/tls.h"

namespace masque {

struct NullTlsOptions {
  enum class Role : uint8_t { Client, Server };
  Role role = Role::Client;
  std::string identity;  // the name in our certificate; empty: we send none
  // What the peer must prove. A client names its server; a server may demand any name at all.
  std::string expected_peer;  // empty: every name will do
  ClientCertificates client_certificates = ClientCertificates::Optional;  // server only
  std::function<bool(std::string_view)> accept_peer;                      // empty: everybody
  size_t hello_size = 300;  // of the client's first message; 1,300 and more spans two Initials
  size_t certificate_size = 800;  // of the certificate message, either side
  std::string alpn = "h3";
};

// `rng` draws the randoms of the hellos; it must outlive the context.
std::unique_ptr<TlsContext> make_null_tls(NullTlsOptions options, Rng& rng);

// The fingerprint that peer_certificate() shows for a name.
std::array<uint8_t, 32> null_tls_fingerprint(std::string_view name);

}  // namespace masque
