// SPDX-License-Identifier: Apache-2.0
#include <ngtcp2/ngtcp2.h>
#include <ngtcp2/ngtcp2_crypto.h>
#include <ngtcp2/ngtcp2_crypto_ossl.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include <format>

#include "base/mutant.h"
#include "core/ip/address.h"
#include "core/quic/path_protection_openssl.h"
#include "core/quic/tls.h"

namespace masque {

namespace {

template <auto free>
struct Deleter {
  void operator()(auto* p) const { free(p); }
};
using ContextPtr = std::unique_ptr<SSL_CTX, Deleter<SSL_CTX_free>>;
using BioPtr = std::unique_ptr<BIO, Deleter<BIO_free>>;
using CertificatePtr = std::unique_ptr<X509, Deleter<X509_free>>;
using KeyPtr = std::unique_ptr<EVP_PKEY, Deleter<EVP_PKEY_free>>;
using Failure = std::unexpected<std::string>;

constexpr unsigned char kAlpn[] = {2, 'h', '3'};
// Post-quantum key agreement where both ends have it, else the classic curves. The client sends a
// key share for each *: a server without the first needs no HelloRetryRequest, which costs a round
// trip and which some QUIC servers cannot do (aioquic 1.7). / parts by preference of the server.
constexpr const char* kGroups = "*X25519MLKEM768/*X25519:P-256:P-384";
constexpr const char* kCiphers =
    "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256";

std::string openssl_reason() {
  const unsigned long code = ERR_peek_last_error();
  ERR_clear_error();
  const char* text = ERR_reason_error_string(code);
  return text == nullptr ? "unknown reason" : text;
}

BioPtr bio_of(const std::string& pem) {
  return BioPtr(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())));
}

std::expected<void, std::string> use_certificate(SSL_CTX* context, const std::string& pem) {
  const BioPtr bio = bio_of(pem);
  const CertificatePtr leaf(PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr));
  if (!leaf || SSL_CTX_use_certificate(context, leaf.get()) != 1) {
    return Failure("the certificate is not a PEM certificate: " + openssl_reason());
  }
  while (X509* next = PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr)) {
    SSL_CTX_add_extra_chain_cert(context, next);  // takes ownership
  }
  ERR_clear_error();  // the end of the file is an error to the PEM reader
  return {};
}

std::expected<void, std::string> use_key(SSL_CTX* context, const std::string& pem) {
  const BioPtr bio = bio_of(pem);
  const KeyPtr key(PEM_read_bio_PrivateKey(bio.get(), nullptr, nullptr, nullptr));
  if (!key) return Failure("the private key is not an unencrypted PEM key: " + openssl_reason());
  if (SSL_CTX_use_PrivateKey(context, key.get()) != 1 || SSL_CTX_check_private_key(context) != 1) {
    ERR_clear_error();
    return Failure("the private key does not belong to the certificate");
  }
  return {};
}

std::expected<void, std::string> trust(SSL_CTX* context, const std::string& pem) {
  X509_STORE* store = SSL_CTX_get_cert_store(context);
  const BioPtr bio = bio_of(pem);
  size_t count = 0;
  while (true) {
    const CertificatePtr ca(PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr));
    if (!ca) break;
    X509_STORE_add_cert(store, ca.get());
    ++count;
  }
  ERR_clear_error();
  if (count == 0) return Failure("the CA file holds no PEM certificate");
  return {};
}

void set_key_log(SSL_CTX* context, const std::function<void(std::string_view)>& key_log) {
  if (!key_log) return;
  SSL_CTX_set_app_data(context, unconst(&key_log));
  SSL_CTX_set_keylog_callback(context, [](const SSL* ssl, const char* line) {
    const auto* log = static_cast<std::function<void(std::string_view)>*>(
        SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl)));
    (*log)(line);
  });
}

int select_alpn(SSL*, const unsigned char** out, unsigned char* out_length, const unsigned char* in,
                unsigned int in_length, void*) {
  unsigned char* selected = nullptr;
  if (SSL_select_next_proto(&selected, out_length, kAlpn, sizeof(kAlpn), in, in_length) !=
      OPENSSL_NPN_NEGOTIATED) {
    return SSL_TLSEXT_ERR_ALERT_FATAL;  // no_application_protocol, RFC 9001 8.1
  }
  *out = selected;
  return SSL_TLSEXT_ERR_OK;
}

void append_names(X509* certificate, std::vector<std::string>& names) {
  auto* list = static_cast<GENERAL_NAMES*>(
      X509_get_ext_d2i(certificate, NID_subject_alt_name, nullptr, nullptr));
  for (int i = 0; i < sk_GENERAL_NAME_num(list); ++i) {
    const GENERAL_NAME* name = sk_GENERAL_NAME_value(list, i);
    if (name->type != GEN_DNS && name->type != GEN_URI) continue;
    const ASN1_STRING* text = name->d.ia5;
    std::string value(reinterpret_cast<const char*>(ASN1_STRING_get0_data(text)),
                      static_cast<size_t>(ASN1_STRING_length(text)));
    if (value.find('\0') == std::string::npos || mutant("names.nul.remove"))
      names.push_back(std::move(value));
  }
  GENERAL_NAMES_free(list);
}

std::string common_name_of(X509* certificate) {
  const X509_NAME* subject = X509_get_subject_name(certificate);
  const int index = X509_NAME_get_index_by_NID(subject, NID_commonName, -1);
  if (index < 0) return {};
  unsigned char* utf8 = nullptr;
  const int length =
      ASN1_STRING_to_UTF8(&utf8, X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, index)));
  if (length < 0) return {};
  std::string out(reinterpret_cast<char*>(utf8), static_cast<size_t>(length));
  OPENSSL_free(utf8);
  // An embedded NUL is an attempt to look like a shorter name.
  return out.find('\0') == std::string::npos || mutant("common_name.nul.remove") ? out
                                                                                 : std::string();
}

CertificateFault certificate_fault(long verify_result) {
  switch (verify_result) {
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
    case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
    case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
    case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
    case X509_V_ERR_CERT_SIGNATURE_FAILURE:  // another CA of the same name
      return CertificateFault::Untrusted;
    case X509_V_ERR_HOSTNAME_MISMATCH:
    case X509_V_ERR_IP_ADDRESS_MISMATCH:
      return CertificateFault::OtherName;
    case X509_V_ERR_CERT_HAS_EXPIRED:
      return CertificateFault::Expired;
    case X509_V_ERR_CERT_NOT_YET_VALID:
      return CertificateFault::NotYetValid;
    default:
      return CertificateFault::Other;
  }
}

class OpensslSession final : public TlsSession {
 public:
  enum class Role : uint8_t { Client, Server };

  OpensslSession(SSL* ssl, ngtcp2_crypto_ossl_ctx* context, Role role)
      : ssl_(ssl), context_(context), role_(role) {}
  ~OpensslSession() override {
    SSL_set_app_data(ssl_, nullptr);  // freeing may call back
    SSL_free(ssl_);
    ngtcp2_crypto_ossl_ctx_del(context_);
  }

  void install_callbacks(ngtcp2_callbacks& callbacks) override {
    callbacks.client_initial = ngtcp2_crypto_client_initial_cb;
    callbacks.recv_client_initial = ngtcp2_crypto_recv_client_initial_cb;
    callbacks.recv_crypto_data = ngtcp2_crypto_recv_crypto_data_cb;
    callbacks.encrypt = ngtcp2_crypto_encrypt_cb;
    callbacks.decrypt = ngtcp2_crypto_decrypt_cb;
    callbacks.hp_mask = ngtcp2_crypto_hp_mask_cb;
    callbacks.recv_retry = ngtcp2_crypto_recv_retry_cb;
    callbacks.update_key = ngtcp2_crypto_update_key_cb;
    callbacks.delete_crypto_aead_ctx = ngtcp2_crypto_delete_crypto_aead_ctx_cb;
    callbacks.delete_crypto_cipher_ctx = ngtcp2_crypto_delete_crypto_cipher_ctx_cb;
    callbacks.version_negotiation = ngtcp2_crypto_version_negotiation_cb;
  }

  bool bind(ngtcp2_conn* connection, ngtcp2_crypto_conn_ref* reference) override {
    SSL_set_app_data(ssl_, reference);
    ngtcp2_conn_set_tls_native_handle(connection, context_);
    return true;
  }

  PeerCertificate peer_certificate() const override {
    PeerCertificate out;
    X509* certificate = SSL_get0_peer_certificate(ssl_);
    if (certificate == nullptr) return out;
    out.present = true;
    out.common_name = common_name_of(certificate);
    append_names(certificate, out.names);
    unsigned char* der = nullptr;
    const int der_length = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(certificate), &der);
    if (der_length > 0) {
      EVP_Digest(der, static_cast<size_t>(der_length), out.fingerprint.data(), nullptr,
                 EVP_sha256(), nullptr);
      OPENSSL_free(der);
    }
    return out;
  }

  std::string cipher() const override {
    const char* group = SSL_get0_group_name(ssl_);
    return std::format("{} {}", SSL_get_cipher_name(ssl_), group == nullptr ? "" : group);
  }

  TlsFailure failure() const override {
    const long result = SSL_get_verify_result(ssl_);
    if (result == X509_V_OK) return {.text = "TLS handshake failed: " + openssl_reason()};
    const char* whose =
        role_ == Role::Client ? "the server's certificate" : "the client's certificate";
    return {.text = std::format("{} was refused: {}", whose, X509_verify_cert_error_string(result)),
            .certificate = certificate_fault(result)};
  }

  bool export_key(std::string_view label, MutableBytes out) const override {
    return SSL_export_keying_material(ssl_, out.data(), out.size(), label.data(), label.size(),
                                      nullptr, 0, 0) == 1;
  }
  std::unique_ptr<PathProtection> path_protection(Bytes secret) const override {
    return make_openssl_path_protection(secret);
  }

 private:
  SSL* ssl_;
  ngtcp2_crypto_ossl_ctx* context_;
  Role role_;
};

class OpensslContext final : public TlsContext {
 public:
  OpensslContext(ContextPtr context, OpensslSession::Role role,
                 std::function<void(std::string_view)> key_log)
      : context_(std::move(context)), role_(role), key_log_(std::move(key_log)) {
    set_key_log(context_.get(), key_log_);
  }

  // Client only: the name to ask for and to check.
  std::string server_name;
  TlsClientOptions::Verify verify = TlsClientOptions::Verify::Full;

  std::unique_ptr<TlsSession> new_session() override {
    SSL* ssl = SSL_new(context_.get());
    if (ssl == nullptr) return nullptr;
    ngtcp2_crypto_ossl_ctx* context = nullptr;
    if (ngtcp2_crypto_ossl_ctx_new(&context, ssl) != 0) {
      SSL_free(ssl);
      return nullptr;
    }
    auto session = std::make_unique<OpensslSession>(ssl, context, role_);
    if (role_ == OpensslSession::Role::Server) {
      if (ngtcp2_crypto_ossl_configure_server_session(ssl) != 0) return nullptr;
      SSL_set_accept_state(ssl);
      return session;
    }
    if (ngtcp2_crypto_ossl_configure_client_session(ssl) != 0) return nullptr;
    SSL_set_connect_state(ssl);
    SSL_set_alpn_protos(ssl, kAlpn, sizeof(kAlpn));
    if (!name_server(ssl)) return nullptr;
    return session;
  }

 private:
  bool name_server(SSL* ssl) const {
    if (server_name.empty()) return true;
    const bool is_address = IpAddress::parse(server_name).has_value();
    // RFC 6066 3: a literal address is not sent as server name.
    if (!is_address && SSL_set_tlsext_host_name(ssl, server_name.c_str()) != 1) return false;
    if (verify == TlsClientOptions::Verify::InsecureSkip || mutant("server_name.remove"))
      return true;
    if (is_address)
      return X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), server_name.c_str()) == 1;
    SSL_set_hostflags(ssl, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    return SSL_set1_host(ssl, server_name.c_str()) == 1;
  }

  ContextPtr context_;
  OpensslSession::Role role_;
  std::function<void(std::string_view)> key_log_;
};

std::expected<ContextPtr, std::string> new_context(const SSL_METHOD* method) {
  if (ngtcp2_crypto_ossl_init() != 0)
    return Failure("OpenSSL could not be initialised: " + openssl_reason());
  ContextPtr context(SSL_CTX_new(method));
  if (!context) return Failure("OpenSSL gave no context: " + openssl_reason());
  SSL_CTX_set_min_proto_version(context.get(), TLS1_3_VERSION);
  SSL_CTX_set_max_proto_version(context.get(), TLS1_3_VERSION);
  if (SSL_CTX_set1_groups_list(context.get(), kGroups) != 1 ||
      SSL_CTX_set_ciphersuites(context.get(), kCiphers) != 1) {
    return Failure("OpenSSL lacks the wanted groups or ciphers: " + openssl_reason());
  }
  SSL_CTX_set_mode(context.get(), SSL_MODE_RELEASE_BUFFERS);
  return context;
}

}  // namespace

std::expected<std::unique_ptr<TlsContext>, std::string> make_tls_server(
    const TlsServerOptions& options) {
  TRY(ContextPtr context, new_context(TLS_server_method()));
  TRY_VOID(use_certificate(context.get(), options.certificate_pem));
  TRY_VOID(use_key(context.get(), options.key_pem));
  SSL_CTX_set_alpn_select_cb(context.get(), select_alpn, nullptr);
  // No session tickets: a resumed session would outlive a revocation and an expired certificate.
  SSL_CTX_set_num_tickets(context.get(), 0);
  SSL_CTX_set_session_cache_mode(context.get(), SSL_SESS_CACHE_OFF);
  int verify = SSL_VERIFY_NONE;
  if (options.client_certificates != ClientCertificates::None) {
    verify = mutant("client_certificate.verify.remove") ? SSL_VERIFY_NONE : SSL_VERIFY_PEER;
    TRY_VOID(trust(context.get(), options.client_ca_pem));
    if (options.client_certificates == ClientCertificates::Required &&
        !mutant("client_certificate.required.remove"))
      verify |= SSL_VERIFY_FAIL_IF_NO_PEER_CERT;
  }
  SSL_CTX_set_verify(context.get(), verify, nullptr);
  return std::make_unique<OpensslContext>(std::move(context), OpensslSession::Role::Server,
                                          options.key_log);
}

std::expected<std::unique_ptr<TlsContext>, std::string> make_tls_client(
    const TlsClientOptions& options) {
  TRY(ContextPtr context, new_context(TLS_client_method()));
  if (!options.certificate_pem.empty()) {
    TRY_VOID(use_certificate(context.get(), options.certificate_pem));
    TRY_VOID(use_key(context.get(), options.key_pem));
  }
  if (options.ca_pem.empty()) {
    SSL_CTX_set_default_verify_paths(context.get());
  } else {
    TRY_VOID(trust(context.get(), options.ca_pem));
  }
  const bool skip = options.verify == TlsClientOptions::Verify::InsecureSkip;
  SSL_CTX_set_verify(
      context.get(),
      skip || mutant("server_certificate.verify.remove") ? SSL_VERIFY_NONE : SSL_VERIFY_PEER,
      nullptr);
  auto out = std::make_unique<OpensslContext>(std::move(context), OpensslSession::Role::Client,
                                              options.key_log);
  out->server_name = options.server_name;
  out->verify = options.verify;
  return out;
}

}  // namespace masque
