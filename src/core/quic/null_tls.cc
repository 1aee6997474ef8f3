// SPDX-License-Identifier: Apache-2.0
#include "core/quic/null_tls.h"

#include <ngtcp2/ngtcp2.h>
#include <ngtcp2/ngtcp2_crypto.h>
#include <openssl/evp.h>

#include <algorithm>
#include <cstring>
#include <optional>

#include "core/quic/null_checksum.h"
#include "core/quic/null_path_protection.h"

namespace masque {

namespace {

constexpr size_t kIvSize = 12;
constexpr size_t kSecretSize = 8;
constexpr size_t kRandomSize = 32;
constexpr size_t kMessageMax = 16 * 1024;

// Alerts of RFC 8446 6.2.
constexpr uint8_t kAlertBadCertificate = 42;
constexpr uint8_t kAlertAccessDenied = 49;
constexpr uint8_t kAlertDecodeError = 50;
constexpr uint8_t kAlertDecryptError = 51;
constexpr uint8_t kAlertCertificateRequired = 116;
constexpr uint8_t kAlertNoApplicationProtocol = 120;

// Message types of RFC 8446 4.
enum class Message : uint8_t {
  ClientHello = 1,
  ServerHello = 2,
  EncryptedExtensions = 8,
  Certificate = 11,
  Finished = 20,
};

// ---- checksums in the place of keys and tags --------------------------------------------------

using null_tls::checksum;
using null_tls::kTagSize;
using null_tls::mix;

uint64_t checksum(uint64_t h, std::string_view text) { return checksum(h, as_bytes(text)); }

// What an aead_ctx points to.
struct NullKey {
  uint64_t value = 0;
};

std::array<uint8_t, kTagSize> tag_of(const ngtcp2_crypto_aead_ctx& context, Bytes payload,
                                     Bytes nonce, Bytes header) {
  return null_tls::tag(static_cast<const NullKey*>(context.native_handle)->value, nonce, header,
                       payload);
}

// The library's AEAD objects are real only for the Retry integrity tag.
int encrypt(uint8_t* out, const ngtcp2_crypto_aead* aead, const ngtcp2_crypto_aead_ctx* context,
            const uint8_t* payload, size_t payload_size, const uint8_t* nonce, size_t nonce_size,
            const uint8_t* header, size_t header_size) {
  if (aead->native_handle != nullptr) {
    return ngtcp2_crypto_encrypt_cb(out, aead, context, payload, payload_size, nonce, nonce_size,
                                    header, header_size);
  }
  if (payload_size > 0 && out != payload) std::memmove(out, payload, payload_size);
  const auto tag = tag_of(*context, Bytes(out, payload_size), Bytes(nonce, nonce_size),
                          Bytes(header, header_size));
  std::ranges::copy(tag, out + payload_size);
  return 0;
}

int decrypt(uint8_t* out, const ngtcp2_crypto_aead*, const ngtcp2_crypto_aead_ctx* context,
            const uint8_t* sealed, size_t sealed_size, const uint8_t* nonce, size_t nonce_size,
            const uint8_t* header, size_t header_size) {
  if (sealed_size < kTagSize) return NGTCP2_ERR_DECRYPT;
  const size_t payload_size = sealed_size - kTagSize;
  const auto tag = tag_of(*context, Bytes(sealed, payload_size), Bytes(nonce, nonce_size),
                          Bytes(header, header_size));
  if (std::memcmp(tag.data(), sealed + payload_size, kTagSize) != 0) return NGTCP2_ERR_DECRYPT;
  if (payload_size > 0 && out != sealed) std::memmove(out, sealed, payload_size);
  return 0;
}

int header_mask(uint8_t* out, const ngtcp2_crypto_cipher*, const ngtcp2_crypto_cipher_ctx*,
                const uint8_t*) {
  std::memset(out, 0, NGTCP2_HP_MASKLEN);
  return 0;
}

ngtcp2_crypto_ctx null_crypto() {
  ngtcp2_crypto_ctx out{};
  out.aead.max_overhead = kTagSize;
  out.max_encryption = uint64_t{1} << 60;
  out.max_decryption_failure = uint64_t{1} << 60;
  return out;
}

// The library owns it and calls delete_crypto_aead_ctx.
ngtcp2_crypto_aead_ctx new_key(uint64_t value) {
  return {.native_handle = new NullKey{value}};  // NOLINT(clang-analyzer-cplusplus.NewDeleteLeaks)
}

// A traffic secret as bytes, because the library keeps it for key updates.
std::array<uint8_t, kSecretSize> secret_bytes(uint64_t value) {
  std::array<uint8_t, kSecretSize> out;
  std::memcpy(out.data(), &value, kSecretSize);
  return out;
}

constexpr uint8_t kZeroIv[kIvSize] = {};

}  // namespace

std::array<uint8_t, 32> null_tls_fingerprint(std::string_view name) {
  std::array<uint8_t, 32> out;
  uint64_t sum = checksum(0x66696e676572, name);
  for (size_t i = 0; i < out.size(); i += 8) {
    sum = mix(sum, i);
    std::memcpy(out.data() + i, &sum, 8);
  }
  return out;
}

namespace {

class NullSession final : public TlsSession {
 public:
  using Role = NullTlsOptions::Role;

  NullSession(const NullTlsOptions& options, Rng& rng) : options_(options) { rng.fill(random_); }

  void install_callbacks(ngtcp2_callbacks& callbacks) override {
    callbacks.client_initial = [](ngtcp2_conn* connection, void*) {
      return of(connection).start();
    };
    callbacks.recv_client_initial = [](ngtcp2_conn* connection, const ngtcp2_cid* dcid, void*) {
      return of(connection).install_initial(*dcid);
    };
    callbacks.recv_retry = [](ngtcp2_conn* connection, const ngtcp2_pkt_hd* header, void*) {
      return of(connection).install_initial(header->scid);
    };
    callbacks.recv_crypto_data = [](ngtcp2_conn* connection, ngtcp2_encryption_level level,
                                    uint64_t, const uint8_t* data, size_t size, void*) {
      return of(connection).on_bytes(level, Bytes(data, size));
    };
    callbacks.encrypt = encrypt;
    callbacks.decrypt = decrypt;
    callbacks.hp_mask = header_mask;
    callbacks.update_key = update_key;
    callbacks.delete_crypto_aead_ctx = [](ngtcp2_conn* connection, ngtcp2_crypto_aead_ctx* context,
                                          void*) {
      if (context->native_handle != nullptr &&
          context->native_handle == of(connection).retry_context_) {
        ngtcp2_crypto_aead_ctx_free(context);
      } else {
        delete static_cast<NullKey*>(context->native_handle);
      }
    };
    callbacks.delete_crypto_cipher_ctx = [](ngtcp2_conn*, ngtcp2_crypto_cipher_ctx*, void*) {};
    // Only version 1 is offered, so the library never asks for keys of another.
    callbacks.version_negotiation = [](ngtcp2_conn*, uint32_t, const ngtcp2_cid*, void*) {
      return NGTCP2_ERR_CALLBACK_FAILURE;
    };
  }

  bool bind(ngtcp2_conn* connection, ngtcp2_crypto_conn_ref*) override {
    connection_ = connection;
    ngtcp2_conn_set_tls_native_handle(connection, this);
    const ngtcp2_crypto_ctx crypto = null_crypto();
    ngtcp2_conn_set_initial_crypto_ctx(connection, &crypto);
    ngtcp2_conn_set_crypto_ctx(connection, &crypto);
    return true;
  }

  PeerCertificate peer_certificate() const override {
    if (!peer_name_ || peer_name_->empty()) return {};
    return {.present = true,
            .common_name = *peer_name_,
            .names = {*peer_name_},
            .fingerprint = null_tls_fingerprint(*peer_name_)};
  }
  std::string cipher() const override { return "NULL_WITH_NULL_NULL scripted"; }
  TlsFailure failure() const override { return {.text = failure_}; }

  bool export_key(std::string_view label, MutableBytes out) const override {
    if (!complete_) return false;
    uint64_t sum = checksum(mix(transcript_, 0x6578706f7274), label);
    for (uint8_t& byte : out) {
      sum = mix(sum, out.size());
      byte = static_cast<uint8_t>(sum);
    }
    return true;
  }
  std::unique_ptr<PathProtection> path_protection(Bytes secret) const override {
    return make_null_path_protection(secret);
  }

 private:
  static NullSession& of(ngtcp2_conn* connection) {
    return *static_cast<NullSession*>(ngtcp2_conn_get_tls_native_handle(connection));
  }
  bool is_client() const { return options_.role == Role::Client; }

  // --- keys ---
  // `from_client`: of the packets that the client protects.
  uint64_t direction_key(uint64_t base, bool from_client) const {
    return mix(base, from_client ? 'c' : 's');
  }

  int install_initial(const ngtcp2_cid& dcid) {
    const Bytes id(dcid.data, dcid.datalen);
    const ngtcp2_crypto_aead_ctx receive = new_key(null_tls::initial_key(id, !is_client()));
    const ngtcp2_crypto_aead_ctx send = new_key(null_tls::initial_key(id, is_client()));
    const ngtcp2_crypto_cipher_ctx header{};
    return ngtcp2_conn_install_initial_key(connection_, &receive, kZeroIv, &header, &send, kZeroIv,
                                           &header, kIvSize);
  }

  bool install_handshake() {
    const uint64_t base = mix(transcript_, 'h');
    const ngtcp2_crypto_cipher_ctx header{};
    traffic_base_ = mix(transcript_, 't');
    const ngtcp2_crypto_aead_ctx receive = new_key(direction_key(base, !is_client()));
    if (ngtcp2_conn_install_rx_handshake_key(connection_, &receive, kZeroIv, kIvSize, &header) !=
        0) {
      return false;
    }
    const ngtcp2_crypto_aead_ctx send = new_key(direction_key(base, is_client()));
    return ngtcp2_conn_install_tx_handshake_key(connection_, &send, kZeroIv, kIvSize, &header) == 0;
  }

  bool install_receive() {
    const uint64_t secret = direction_key(traffic_base_, !is_client());
    const ngtcp2_crypto_aead_ctx context = new_key(secret);
    const ngtcp2_crypto_cipher_ctx header{};
    return ngtcp2_conn_install_rx_key(connection_, secret_bytes(secret).data(), kSecretSize,
                                      &context, kZeroIv, kIvSize, &header) == 0;
  }

  bool install_send() {
    const uint64_t secret = direction_key(traffic_base_, is_client());
    const ngtcp2_crypto_aead_ctx context = new_key(secret);
    const ngtcp2_crypto_cipher_ctx header{};
    return ngtcp2_conn_install_tx_key(connection_, secret_bytes(secret).data(), kSecretSize,
                                      &context, kZeroIv, kIvSize, &header) == 0;
  }

  static int update_key(ngtcp2_conn*, uint8_t* receive_secret, uint8_t* send_secret,
                        ngtcp2_crypto_aead_ctx* receive, uint8_t* receive_iv,
                        ngtcp2_crypto_aead_ctx* send, uint8_t* send_iv, const uint8_t* old_receive,
                        const uint8_t* old_send, size_t, void*) {
    const auto advance = [](const uint8_t* old, uint8_t* fresh, ngtcp2_crypto_aead_ctx* context,
                            uint8_t* iv) {
      uint64_t secret;
      std::memcpy(&secret, old, kSecretSize);
      secret = mix(secret, 'u');
      std::memcpy(fresh, &secret, kSecretSize);
      std::memset(iv, 0, kIvSize);
      *context = new_key(secret);
    };
    advance(old_receive, receive_secret, receive, receive_iv);
    advance(old_send, send_secret, send, send_iv);
    return 0;
  }

  // --- messages: type, 2 bytes of length, body ---
  void append(ByteBuffer& out, Message type, Bytes body) {
    const size_t start = out.size();
    out.u8(static_cast<uint8_t>(type));
    out.u16(static_cast<uint16_t>(body.size()));
    out.bytes(body);
    transcript_ = checksum(transcript_, out.view().subspan(start));
  }
  bool submit(ngtcp2_encryption_level level, const ByteBuffer& flight) {
    return ngtcp2_conn_submit_crypto_data(connection_, level, flight.view().data(),
                                          flight.size()) == 0;
  }
  void append_hello(ByteBuffer& out, Message type, size_t size) {
    ByteBuffer body;
    body.bytes(random_);
    if (type == Message::ClientHello) {
      body.u8(static_cast<uint8_t>(options_.alpn.size()));
      body.bytes(as_bytes(options_.alpn));
      append_parameters(body);
    }
    while (body.size() + 3 < size) body.u8(0);
    append(out, type, body.view());
  }
  void append_parameters(ByteBuffer& body) {
    std::array<uint8_t, 512> parameters;
    const ngtcp2_ssize n = ngtcp2_conn_encode_local_transport_params(connection_, parameters.data(),
                                                                     parameters.size());
    MASQUE_ASSERT(n > 0);
    body.u16(static_cast<uint16_t>(n));
    body.bytes(Bytes(parameters).first(static_cast<size_t>(n)));
  }
  void append_certificate(ByteBuffer& out) {
    ByteBuffer body;
    body.u8(static_cast<uint8_t>(std::min<size_t>(options_.identity.size(), 255)));
    body.bytes(as_bytes(options_.identity).first(std::min<size_t>(options_.identity.size(), 255)));
    if (!options_.identity.empty()) {
      while (body.size() + 3 < options_.certificate_size) body.u8(0);
    }
    append(out, Message::Certificate, body.view());
  }
  void append_finished(ByteBuffer& out) {
    ByteBuffer body;
    body.bytes(secret_bytes(mix(transcript_, 'f')));
    append(out, Message::Finished, body.view());
  }

  // --- the script ---
  int start() {
    if (retry_context_ == nullptr && !install_retry()) return NGTCP2_ERR_CALLBACK_FAILURE;
    if (install_initial(*ngtcp2_conn_get_dcid(connection_)) != 0)
      return NGTCP2_ERR_CALLBACK_FAILURE;
    ByteBuffer flight;
    append_hello(flight, Message::ClientHello, options_.hello_size);
    return submit(NGTCP2_ENCRYPTION_LEVEL_INITIAL, flight) ? 0 : NGTCP2_ERR_CALLBACK_FAILURE;
  }

  bool install_retry() {
    const ngtcp2_crypto_aead aead{.native_handle = unconst(EVP_aes_128_gcm()),
                                  .max_overhead = kTagSize};
    constexpr uint8_t kRetryKey[] = {0xbe, 0x0c, 0x69, 0x0b, 0x9f, 0x66, 0x57, 0x5a, 0x1d,
                                     0x76, 0x6b, 0x54, 0xe3, 0x68, 0xc8, 0x4e};  // RFC 9001 5.8
    ngtcp2_crypto_aead_ctx context{};
    if (ngtcp2_crypto_aead_ctx_encrypt_init(&context, &aead, kRetryKey, kIvSize) != 0) return false;
    retry_context_ = context.native_handle;
    ngtcp2_conn_set_retry_aead(connection_, &aead, &context);
    return true;
  }

  int refuse(uint8_t alert, std::string reason) {
    ngtcp2_conn_set_tls_alert(connection_, alert);
    failure_ = std::move(reason);
    return NGTCP2_ERR_CRYPTO;
  }

  int on_bytes(ngtcp2_encryption_level level, Bytes data) {
    ByteBuffer& in = level == NGTCP2_ENCRYPTION_LEVEL_INITIAL ? initial_in_ : handshake_in_;
    if (in.size() + data.size() > kMessageMax)
      return refuse(kAlertDecodeError, "too long a handshake message");
    in.bytes(data);
    for (;;) {
      ByteReader reader(in.view());
      const auto type = reader.u8();
      const auto length = reader.u16();
      if (!type || !length) return 0;
      const auto body = reader.bytes(*length);
      if (!body) return 0;
      const Bytes whole = in.view().first(in.size() - reader.size());
      const uint64_t before = transcript_;
      transcript_ = checksum(transcript_, whole);
      const int rv = on_message(level, static_cast<Message>(*type), *body, before);
      if (rv != 0) return rv;
      in.consume(whole.size());
    }
  }

  int on_message(ngtcp2_encryption_level level, Message type, Bytes body, uint64_t before) {
    const bool initial = level == NGTCP2_ENCRYPTION_LEVEL_INITIAL;
    const bool handshake = level == NGTCP2_ENCRYPTION_LEVEL_HANDSHAKE;
    switch (type) {
      case Message::ClientHello:
        if (!initial || is_client() || next_ != type) break;
        return on_client_hello(body);
      case Message::ServerHello:
        if (!initial || !is_client() || next_ != type) break;
        next_ = Message::EncryptedExtensions;
        return install_handshake() ? 0 : NGTCP2_ERR_CALLBACK_FAILURE;
      case Message::EncryptedExtensions:
        if (!handshake || next_ != type) break;
        next_ = Message::Certificate;
        return on_parameters(body);
      case Message::Certificate:
        if (!handshake || next_ != type) break;
        next_ = Message::Finished;
        return on_certificate(body);
      case Message::Finished:
        if (!handshake || next_ != type) break;
        return on_finished(body, before);
    }
    return refuse(kAlertDecodeError, "an unexpected handshake message");
  }

  int on_parameters(Bytes body) {
    ByteReader reader(body);
    const auto size = reader.u16();
    if (!size) return refuse(kAlertDecodeError, "truncated transport parameters");
    const auto parameters = reader.bytes(*size);
    if (!parameters) return refuse(kAlertDecodeError, "truncated transport parameters");
    return ngtcp2_conn_decode_and_set_remote_transport_params(connection_, parameters->data(),
                                                              parameters->size());
  }

  int on_client_hello(Bytes body) {
    ByteReader reader(body);
    const auto random = reader.bytes(kRandomSize);
    const auto alpn_size = reader.u8();
    if (!random || !alpn_size) return refuse(kAlertDecodeError, "truncated hello");
    const auto alpn = reader.bytes(*alpn_size);
    if (!alpn) return refuse(kAlertDecodeError, "truncated hello");
    if (as_text(*alpn) != options_.alpn)
      return refuse(kAlertNoApplicationProtocol, "no common application protocol");
    if (const int rv = on_parameters(reader.rest()); rv != 0) return rv;
    next_ = Message::Certificate;

    ByteBuffer hello;
    append_hello(hello, Message::ServerHello, 0);
    if (!submit(NGTCP2_ENCRYPTION_LEVEL_INITIAL, hello) || !install_handshake())
      return NGTCP2_ERR_CALLBACK_FAILURE;
    ByteBuffer parameters;
    append_parameters(parameters);
    ByteBuffer flight;
    append(flight, Message::EncryptedExtensions, parameters.view());
    append_certificate(flight);
    append_finished(flight);
    const bool done = submit(NGTCP2_ENCRYPTION_LEVEL_HANDSHAKE, flight) && install_send();
    return done ? 0 : NGTCP2_ERR_CALLBACK_FAILURE;
  }

  int on_certificate(Bytes body) {
    ByteReader reader(body);
    const auto size = reader.u8();
    if (!size) return refuse(kAlertDecodeError, "truncated certificate");
    const auto name = reader.bytes(*size);
    if (!name) return refuse(kAlertDecodeError, "truncated certificate");
    peer_name_ = std::string(as_text(*name));
    if (peer_name_->empty()) {
      if (is_client()) return refuse(kAlertBadCertificate, "the server sent no certificate");
      if (options_.client_certificates == ClientCertificates::Required) {
        return refuse(kAlertCertificateRequired, "the client sent no certificate");
      }
      return 0;
    }
    if (!options_.expected_peer.empty() && *peer_name_ != options_.expected_peer) {
      return refuse(kAlertBadCertificate, "the certificate is for " + *peer_name_);
    }
    if (options_.accept_peer && !options_.accept_peer(*peer_name_)) {
      return refuse(kAlertAccessDenied, "the certificate of " + *peer_name_ + " was refused");
    }
    return 0;
  }

  // The sum in Finished covers all that was said before it, as both sides heard it.
  int on_finished(Bytes body, uint64_t before) {
    if (!std::ranges::equal(body, secret_bytes(mix(before, 'f')))) {
      return refuse(kAlertDecryptError, "the two sides heard different messages");
    }
    next_.reset();
    if (is_client()) {
      ByteBuffer flight;
      append_certificate(flight);
      append_finished(flight);
      if (!submit(NGTCP2_ENCRYPTION_LEVEL_HANDSHAKE, flight) || !install_send())
        return NGTCP2_ERR_CALLBACK_FAILURE;
    }
    if (!install_receive()) return NGTCP2_ERR_CALLBACK_FAILURE;
    complete_ = true;
    ngtcp2_conn_tls_handshake_completed(connection_);
    return 0;
  }

  NullTlsOptions options_;
  ngtcp2_conn* connection_ = nullptr;
  void* retry_context_ = nullptr;
  std::array<uint8_t, kRandomSize> random_{};
  ByteBuffer initial_in_;
  ByteBuffer handshake_in_;
  uint64_t transcript_ =
      0x7472616e73;  // over all messages, in the order in which both sides have them
  uint64_t traffic_base_ = 0;
  std::optional<Message> next_ =
      options_.role == Role::Client ? Message::ServerHello : Message::ClientHello;
  std::optional<std::string> peer_name_;
  std::string failure_;
  bool complete_ = false;
};

class NullContext final : public TlsContext {
 public:
  NullContext(NullTlsOptions options, Rng& rng) : options_(std::move(options)), rng_(rng) {}
  std::unique_ptr<TlsSession> new_session() override {
    return std::make_unique<NullSession>(options_, rng_);
  }

 private:
  NullTlsOptions options_;
  Rng& rng_;
};

}  // namespace

std::unique_ptr<TlsContext> make_null_tls(NullTlsOptions options, Rng& rng) {
  return std::make_unique<NullContext>(std::move(options), rng);
}

}  // namespace masque
