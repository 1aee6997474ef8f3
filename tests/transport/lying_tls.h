// SPDX-License-Identifier: Apache-2.0
// A QUIC peer that says what no honest library would: between ngtcp2 and TLS it changes the plain
// text of packets just before they are protected, and its own transport parameters. So our end gets
// packets that are valid in all but what the test wants.
#pragma once

#include <ngtcp2/ngtcp2.h>

#include <functional>
#include <memory>
#include <vector>

#include "core/quic/tls.h"

namespace masque {

struct Lie {
  // The header of a packet and its frames, which it may overwrite; their size stays.
  std::function<void(Bytes header, MutableBytes frames)> rewrite;
  // Server only (ngtcp2 sends a client's as they were when the connection was made).
  std::function<void(ngtcp2_transport_params&)> parameters;
};

class LyingTls final : public TlsContext {
 public:
  LyingTls(std::unique_ptr<TlsContext> inner, std::shared_ptr<Lie> lie)
      : inner_(std::move(inner)), lie_(std::move(lie)) {}
  std::unique_ptr<TlsSession> new_session() override {
    return std::make_unique<Session>(inner_->new_session(), lie_);
  }

 private:
  class Session final : public TlsSession {
   public:
    Session(std::unique_ptr<TlsSession> inner, std::shared_ptr<Lie> lie)
        : inner_(std::move(inner)), lie_(std::move(lie)) {}
    void install_callbacks(ngtcp2_callbacks& callbacks) override {
      inner_->install_callbacks(callbacks);
      // The callback is told nothing of its connection; one liar at a time is enough.
      honest_ = callbacks.encrypt;
      telling_ = lie_.get();
      callbacks.encrypt = encrypt;
    }
    bool bind(ngtcp2_conn* connection, ngtcp2_crypto_conn_ref* reference) override {
      if (!inner_->bind(connection, reference)) return false;
      if (!lie_->parameters || ngtcp2_conn_is_server(connection) == 0) return true;
      ngtcp2_transport_params parameters = *ngtcp2_conn_get_local_transport_params(connection);
      lie_->parameters(parameters);
      return ngtcp2_conn_set_local_transport_params(connection, &parameters) == 0;
    }
    PeerCertificate peer_certificate() const override { return inner_->peer_certificate(); }
    std::string cipher() const override { return inner_->cipher(); }
    TlsFailure failure() const override { return inner_->failure(); }
    bool export_key(std::string_view label, MutableBytes out) const override {
      return inner_->export_key(label, out);
    }
    std::unique_ptr<PathProtection> path_protection(Bytes secret) const override {
      return inner_->path_protection(secret);
    }

   private:
    static int encrypt(uint8_t* out, const ngtcp2_crypto_aead* aead,
                       const ngtcp2_crypto_aead_ctx* context, const uint8_t* plain, size_t size,
                       const uint8_t* nonce, size_t nonce_size, const uint8_t* header,
                       size_t header_size) {
      std::vector<uint8_t> frames(plain, plain + size);
      if (telling_->rewrite) telling_->rewrite(Bytes(header, header_size), frames);
      return honest_(out, aead, context, frames.data(), frames.size(), nonce, nonce_size, header,
                     header_size);
    }
    static inline ngtcp2_encrypt honest_ = nullptr;
    static inline Lie* telling_ = nullptr;
    std::unique_ptr<TlsSession> inner_;
    std::shared_ptr<Lie> lie_;
  };
  std::unique_ptr<TlsContext> inner_;
  std::shared_ptr<Lie> lie_;
};

// For PairOptions.
inline auto lying(const std::shared_ptr<Lie>& lie) {
  return [lie](std::unique_ptr<TlsContext> inner) -> std::unique_ptr<TlsContext> {
    return std::make_unique<LyingTls>(std::move(inner), lie);
  };
}

// What kind of packet a header begins.
inline bool is_short(Bytes header) { return (header[0] & 0x80) == 0; }
inline bool is_initial(Bytes header) { return (header[0] & 0xf0) == 0xc0; }
inline bool is_handshake(Bytes header) { return (header[0] & 0xf0) == 0xe0; }

}  // namespace masque
