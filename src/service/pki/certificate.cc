// SPDX-License-Identifier: Apache-2.0
#include "service/pki/certificate.h"

#include <openssl/bio.h>
#include <openssl/bn.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include <algorithm>
#include <array>
#include <ctime>
#include <format>
#include <memory>
#include <span>

#include "base/mutant.h"
#include "core/ip/address.h"

namespace masque {

namespace {

template <auto kFree>
struct Freer {
  template <class T>
  void operator()(T* object) const {
    kFree(object);
  }
};
using X509Ptr = std::unique_ptr<X509, Freer<X509_free>>;
using KeyPtr = std::unique_ptr<EVP_PKEY, Freer<EVP_PKEY_free>>;
using BioPtr = std::unique_ptr<BIO, Freer<BIO_free_all>>;
using ExtensionPtr = std::unique_ptr<X509_EXTENSION, Freer<X509_EXTENSION_free>>;
using BignumPtr = std::unique_ptr<BIGNUM, Freer<BN_free>>;
using NamesPtr = std::unique_ptr<GENERAL_NAMES, Freer<GENERAL_NAMES_free>>;
struct OpensslFreer {
  void operator()(unsigned char* bytes) const { OPENSSL_free(bytes); }
};

constexpr int kBackdateSeconds = 3600;  // peers' clocks may be behind
constexpr int kSecondsPerDay = 24 * 3600;

std::unexpected<std::string> failed(std::string_view what) {
  const unsigned long code = ERR_get_error();
  ERR_clear_error();
  const char* reason = code == 0 ? nullptr : ERR_reason_error_string(code);
  return std::unexpected(
      std::format("{}{}{}", what, reason == nullptr ? "" : ": ", reason == nullptr ? "" : reason));
}

std::string hex(std::span<const unsigned char> bytes) {
  std::string out;
  for (const unsigned char b : bytes) out += std::format("{:02x}", b);
  return out;
}

BioPtr reader_of(std::string_view text) {
  return BioPtr(
      BIO_new_mem_buf(text.data(), static_cast<int>(std::min<size_t>(text.size(), INT32_MAX))));
}

std::string text_of(const BioPtr& bio) {
  char* data = nullptr;
  const long size = BIO_get_mem_data(bio.get(), &data);
  return size > 0 ? std::string(data, static_cast<size_t>(size)) : std::string();
}

// An encrypted key must not make OpenSSL ask on the terminal.
int no_password(char*, int, int, void*) { return -1; }

PkiResult<X509Ptr> parse_certificate(std::string_view pem) {
  X509Ptr certificate(PEM_read_bio_X509(reader_of(pem).get(), nullptr, no_password, nullptr));
  if (!certificate) {
    ERR_clear_error();
    return std::unexpected("the certificate is damaged or not in PEM form");
  }
  return certificate;
}

PkiResult<KeyPtr> parse_key(std::string_view pem) {
  KeyPtr key(PEM_read_bio_PrivateKey(reader_of(pem).get(), nullptr, no_password, nullptr));
  if (key) return key;
  ERR_clear_error();
  if (pem.contains("ENCRYPTED")) {
    return std::unexpected(
        "the key is encrypted: remove its password with openssl pkey -in KEY -out PLAIN");
  }
  return std::unexpected("the key is damaged or not in PEM form");
}

PkiResult<std::string> certificate_pem(X509* certificate) {
  const BioPtr bio(BIO_new(BIO_s_mem()));
  if (!bio || PEM_write_bio_X509(bio.get(), certificate) != 1)
    return failed("cannot write the certificate");
  return text_of(bio);
}

PkiResult<std::string> key_pem(EVP_PKEY* key) {
  const BioPtr bio(BIO_new(BIO_s_secmem()));
  if (!bio ||
      PEM_write_bio_PKCS8PrivateKey(bio.get(), key, nullptr, nullptr, 0, nullptr, nullptr) != 1) {
    return failed("cannot write the key");
  }
  return text_of(bio);
}

std::string fingerprint_of(X509* certificate) {
  unsigned char* der = nullptr;
  const int size = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(certificate), &der);
  if (size <= 0) return {};
  const std::unique_ptr<unsigned char, OpensslFreer> owner(der);
  return sha256_hex({reinterpret_cast<const char*>(der), static_cast<size_t>(size)});
}

bool set_serial(X509* certificate) {
  constexpr int kSerialBits = 127;  // positive and at most 20 octets, RFC 5280 4.1.2.2
  const BignumPtr number(BN_new());
  return number && BN_rand(number.get(), kSerialBits, BN_RAND_TOP_ONE, BN_RAND_BOTTOM_ANY) == 1 &&
         BN_to_ASN1_INTEGER(number.get(), X509_get_serialNumber(certificate)) != nullptr;
}

bool set_name(X509_NAME* name, std::string_view common_name) {
  return X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8,
                                    reinterpret_cast<const unsigned char*>(common_name.data()),
                                    static_cast<int>(common_name.size()), -1, 0) == 1;
}

bool add_extension(X509* certificate, X509* issuer, int nid, const std::string& value) {
  X509V3_CTX context;
  X509V3_set_ctx_nodb(&context);
  X509V3_set_ctx(&context, issuer, certificate, nullptr, nullptr, 0);
  const ExtensionPtr extension(X509V3_EXT_conf_nid(nullptr, &context, nid, value.c_str()));
  return extension && X509_add_ext(certificate, extension.get(), -1) == 1;
}

struct Profile {
  std::string common_name;
  int days = 0;
  std::vector<std::pair<int, std::string>> extensions;
};

// Signs by `issuer`, or by itself when there is none.
PkiResult<Identity> issue(const Profile& profile, X509* issuer, EVP_PKEY* issuer_key) {
  const KeyPtr key(EVP_EC_gen("P-256"));
  const X509Ptr certificate(X509_new());
  if (!key || !certificate) return failed("cannot make a key");
  X509* const c = certificate.get();
  bool made = X509_set_version(c, X509_VERSION_3) == 1 && set_serial(c) &&
              X509_gmtime_adj(X509_getm_notBefore(c), -kBackdateSeconds) != nullptr &&
              X509_time_adj_ex(X509_getm_notAfter(c), profile.days, 0, nullptr) != nullptr &&
              X509_set_pubkey(c, key.get()) == 1 &&
              set_name(X509_get_subject_name(c), profile.common_name) &&
              X509_set_issuer_name(c, X509_get_subject_name(issuer == nullptr ? c : issuer)) == 1;
  for (const auto& [nid, value] : profile.extensions) {
    made = made && add_extension(c, issuer == nullptr ? c : issuer, nid, value);
  }
  if (!made || X509_sign(c, issuer_key == nullptr ? key.get() : issuer_key, EVP_sha256()) == 0) {
    return failed("cannot make the certificate");
  }
  Identity out;
  auto certificate_text = certificate_pem(c);
  if (!certificate_text) return std::unexpected(certificate_text.error());
  auto key_text = key_pem(key.get());
  if (!key_text) return std::unexpected(key_text.error());
  out.certificate_pem = std::move(*certificate_text);
  out.key_pem = std::move(*key_text);
  out.fingerprint = fingerprint_of(c);
  return out;
}

PkiResult<Identity> issue_by(const Identity& ca, Profile profile) {
  const auto issuer = parse_certificate(ca.certificate_pem);
  if (!issuer) return std::unexpected("the CA: " + issuer.error());
  const auto key = parse_key(ca.key_pem);
  if (!key) return std::unexpected("the CA: " + key.error());
  if (X509_check_private_key(issuer->get(), key->get()) != 1) {
    ERR_clear_error();
    return std::unexpected("the CA's key does not belong to the CA's certificate");
  }
  // A certificate that outlives its CA is refused from the CA's last day on.
  int days_left = 0, seconds = 0;
  if (ASN1_TIME_diff(&days_left, &seconds, nullptr, X509_get0_notAfter(issuer->get())) != 1 ||
      days_left < 0 || seconds < 0) {
    return std::unexpected(
        "the CA's certificate has expired: make a new one with `masque-vpn init`");
  }
  if (!mutant("certificate.outlives_ca"))
    profile.days = std::min(profile.days, std::max(days_left, 1));
  return issue(profile, issuer->get(), key->get());
}

int64_t unix_time(const ASN1_TIME* time) {
  int days = 0, seconds = 0;
  const std::unique_ptr<ASN1_TIME, Freer<ASN1_TIME_free>> epoch(ASN1_TIME_set(nullptr, 0));
  if (!epoch || ASN1_TIME_diff(&days, &seconds, epoch.get(), time) != 1) return 0;
  return int64_t{days} * kSecondsPerDay + seconds;
}

std::string common_name_of(const X509_NAME* name) {
  const int index = X509_NAME_get_index_by_NID(name, NID_commonName, -1);
  if (index < 0) return {};
  unsigned char* utf8 = nullptr;
  const int size =
      ASN1_STRING_to_UTF8(&utf8, X509_NAME_ENTRY_get_data(X509_NAME_get_entry(name, index)));
  if (size < 0) return {};
  const std::unique_ptr<unsigned char, OpensslFreer> owner(utf8);
  return {reinterpret_cast<const char*>(utf8), static_cast<size_t>(size)};
}

void read_alternative_names(X509* certificate, CertificateInfo& info) {
  const NamesPtr names(static_cast<GENERAL_NAMES*>(
      X509_get_ext_d2i(certificate, NID_subject_alt_name, nullptr, nullptr)));
  for (int i = 0; names && i < sk_GENERAL_NAME_num(names.get()); ++i) {
    const GENERAL_NAME* name = sk_GENERAL_NAME_value(names.get(), i);
    int type = 0;
    const auto* value = static_cast<const ASN1_STRING*>(GENERAL_NAME_get0_value(name, &type));
    if (type != GEN_DNS && type != GEN_URI && type != GEN_IPADD) continue;
    const std::span bytes(ASN1_STRING_get0_data(value),
                          static_cast<size_t>(ASN1_STRING_length(value)));
    const std::string text(bytes.begin(), bytes.end());
    if (type == GEN_DNS) info.dns_names.push_back(text);
    if (type == GEN_URI) info.uris.push_back(text);
    if (type != GEN_IPADD) continue;
    if (const auto address = IpAddress::from_bytes(bytes))
      info.addresses.push_back(address->to_string());
  }
}

std::string lower(std::string_view text) {
  std::string out(text);
  std::ranges::transform(out, out.begin(),
                         [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return out;
}

std::string date(int64_t unix_seconds) {
  const time_t time = unix_seconds;
  std::tm parts{};
  gmtime_r(&time, &parts);
  return std::format("{:04}-{:02}-{:02}", parts.tm_year + 1900, parts.tm_mon + 1, parts.tm_mday);
}

}  // namespace

PkiResult<Identity> make_ca(std::string_view name, int days) {
  return issue({.common_name = std::string(name),
                .days = days,
                .extensions = {{NID_basic_constraints, "critical,CA:TRUE,pathlen:0"},
                               {NID_key_usage, "critical,keyCertSign,cRLSign"},
                               {NID_subject_key_identifier, "hash"}}},
               nullptr, nullptr);
}

PkiResult<Identity> make_server_certificate(const Identity& ca,
                                            const std::vector<std::string>& names, int days) {
  std::string alternatives;
  for (const auto& name : names) {
    if (!alternatives.empty()) alternatives += ',';
    alternatives += (IpAddress::parse(name) ? "IP:" : "DNS:") + name;
  }
  constexpr size_t kCommonNameMax = 64;  // ub-common-name, RFC 5280 appendix A.1
  return issue_by(ca, {.common_name = names.empty() ? "" : names.front().substr(0, kCommonNameMax),
                       .days = days,
                       .extensions = {{NID_basic_constraints, "critical,CA:FALSE"},
                                      {NID_key_usage, "critical,digitalSignature"},
                                      {NID_ext_key_usage, "serverAuth"},
                                      {NID_subject_key_identifier, "hash"},
                                      {NID_authority_key_identifier, "keyid:always"},
                                      {NID_subject_alt_name, alternatives}}});
}

PkiResult<Identity> make_client_certificate(const Identity& ca, std::string_view name, int days) {
  return issue_by(
      ca, {.common_name = std::string(name),
           .days = days,
           .extensions = {{NID_basic_constraints, "critical,CA:FALSE"},
                          {NID_key_usage, "critical,digitalSignature"},
                          {NID_ext_key_usage,
                           mutant("certificate.usage") ? "serverAuth,clientAuth" : "clientAuth"},
                          {NID_subject_key_identifier, "hash"},
                          {NID_authority_key_identifier, "keyid:always"},
                          {NID_subject_alt_name, std::format("URI:masque-vpn://user/{}", name)}}});
}

PkiResult<CertificateInfo> read_certificate(std::string_view pem) {
  const auto parsed = parse_certificate(pem);
  if (!parsed) return std::unexpected(parsed.error());
  X509* const certificate = parsed->get();
  CertificateInfo info;
  info.common_name = common_name_of(X509_get_subject_name(certificate));
  info.issuer = common_name_of(X509_get_issuer_name(certificate));
  const ASN1_INTEGER* serial = X509_get0_serialNumber(certificate);
  info.serial =
      hex({ASN1_STRING_get0_data(serial), static_cast<size_t>(ASN1_STRING_length(serial))});
  info.fingerprint = fingerprint_of(certificate);
  info.not_before = unix_time(X509_get0_notBefore(certificate));
  info.not_after = unix_time(X509_get0_notAfter(certificate));
  info.role =
      X509_check_ca(certificate) != 0 ? CertificateInfo::Role::Ca : CertificateInfo::Role::Leaf;
  info.server_auth = X509_check_purpose(certificate, X509_PURPOSE_SSL_SERVER, 0) == 1;
  info.client_auth = X509_check_purpose(certificate, X509_PURPOSE_SSL_CLIENT, 0) == 1;
  read_alternative_names(certificate, info);
  ERR_clear_error();
  return info;
}

PkiResult<void> check_pair(std::string_view certificate_pem, std::string_view key_pem) {
  const auto certificate = parse_certificate(certificate_pem);
  if (!certificate) return std::unexpected(certificate.error());
  const auto key = parse_key(key_pem);
  if (!key) return std::unexpected(key.error());
  const bool fits = X509_check_private_key(certificate->get(), key->get()) == 1;
  ERR_clear_error();
  if (!fits && !mutant("certificate.pair.remove"))
    return std::unexpected("the key does not belong to the certificate");
  return {};
}

PkiResult<void> check_validity(const CertificateInfo& certificate, int64_t now) {
  if (now > certificate.not_after && !mutant("certificate.expired.remove")) {
    return std::unexpected(std::format("the certificate of \"{}\" expired on {}: issue a new one",
                                       certificate.common_name, date(certificate.not_after)));
  }
  if (now < certificate.not_before && !mutant("certificate.early.remove")) {
    return std::unexpected(std::format(
        "the certificate of \"{}\" is not valid before {}: is this machine's clock right?",
        certificate.common_name, date(certificate.not_before)));
  }
  return {};
}

PkiResult<void> check_issued_by(std::string_view certificate_pem, std::string_view ca_pem) {
  const auto certificate = parse_certificate(certificate_pem);
  if (!certificate) return std::unexpected(certificate.error());
  const auto ca = parse_certificate(ca_pem);
  if (!ca) return std::unexpected("the CA: " + ca.error());
  const bool issued = X509_check_issued(ca->get(), certificate->get()) == X509_V_OK &&
                      (X509_verify(certificate->get(), X509_get0_pubkey(ca->get())) == 1 ||
                       mutant("certificate.issuer.signature"));
  ERR_clear_error();
  if (!issued) {
    return std::unexpected(std::format("the certificate of \"{}\" was not issued by this CA",
                                       common_name_of(X509_get_subject_name(certificate->get()))));
  }
  return {};
}

bool certificate_names(const CertificateInfo& certificate, std::string_view host) {
  if (const auto address = IpAddress::parse(host)) {
    return std::ranges::contains(certificate.addresses, address->to_string());
  }
  const std::string wanted = lower(host);
  return std::ranges::any_of(certificate.dns_names, [&](const std::string& name) {
    const std::string pattern = lower(name);
    if (!pattern.starts_with("*.")) return pattern == wanted || mutant("certificate.name.remove");
    const size_t dot = wanted.find('.');
    return dot != std::string::npos && dot > 0 && wanted.substr(dot) == pattern.substr(1);
  });
}

std::string sha256_hex(std::string_view data) {
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
  unsigned int size = 0;
  if (EVP_Digest(data.data(), data.size(), digest.data(), &size, EVP_sha256(), nullptr) != 1)
    return {};
  return hex(std::span(digest).first(size));
}

std::string make_token() {
  std::array<unsigned char, 32> bytes{};
  if (RAND_bytes(bytes.data(), static_cast<int>(bytes.size())) != 1) return {};
  return "mvpn_" + hex(bytes);
}

}  // namespace masque
