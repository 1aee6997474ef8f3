// SPDX-License-Identifier: Apache-2.0
// Throw-away certificates for tests: a CA and what it signs, made in memory.
#pragma once

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include <string>

namespace masque::testing {

struct Identity {
  std::string certificate_pem;
  std::string key_pem;
};

class TestCa {
 public:
  explicit TestCa(const std::string& name = "test CA")
      : key_(EVP_EC_gen("P-256")), certificate_(X509_new()) {
    fill(certificate_, key_, name, 3650);
    extend(certificate_, NID_basic_constraints, "critical,CA:TRUE");
    X509_sign(certificate_, key_, EVP_sha256());
  }
  ~TestCa() {
    X509_free(certificate_);
    EVP_PKEY_free(key_);
  }
  TestCa(const TestCa&) = delete;
  TestCa& operator=(const TestCa&) = delete;

  std::string pem() const { return to_pem(certificate_); }
  Identity itself() const {
    return {.certificate_pem = to_pem(certificate_), .key_pem = key_to_pem(key_)};
  }
  // `names`: an OpenSSL subjectAltName value, "DNS:vpn.example". Negative days: expired already.
  Identity issue(const std::string& common_name, const std::string& names, const char* usage,
                 long days = 30) const {
    EVP_PKEY* key = EVP_EC_gen("P-256");
    X509* leaf = X509_new();
    fill(leaf, key, common_name, days);
    X509_set_issuer_name(leaf, X509_get_subject_name(certificate_));
    if (!names.empty()) extend(leaf, NID_subject_alt_name, names.c_str());
    extend(leaf, NID_ext_key_usage, usage);
    X509_sign(leaf, key_, EVP_sha256());
    Identity out{.certificate_pem = to_pem(leaf), .key_pem = key_to_pem(key)};
    X509_free(leaf);
    EVP_PKEY_free(key);
    return out;
  }
  // Both names as they are, NUL and all; `uri` is a subjectAltName of that type.
  Identity issue_raw(const std::string& common_name, const std::string& uri,
                     const char* usage) const {
    EVP_PKEY* key = EVP_EC_gen("P-256");
    X509* leaf = X509_new();
    fill(leaf, key, common_name, 30);
    X509_set_issuer_name(leaf, X509_get_subject_name(certificate_));
    GENERAL_NAME* name = GENERAL_NAME_new();
    ASN1_IA5STRING* text = ASN1_IA5STRING_new();
    ASN1_STRING_set(text, uri.data(), static_cast<int>(uri.size()));
    GENERAL_NAME_set0_value(name, GEN_URI, text);
    GENERAL_NAMES* names = GENERAL_NAMES_new();
    sk_GENERAL_NAME_push(names, name);
    X509_add1_ext_i2d(leaf, NID_subject_alt_name, names, 0, 0);
    GENERAL_NAMES_free(names);
    extend(leaf, NID_ext_key_usage, usage);
    X509_sign(leaf, key_, EVP_sha256());
    Identity out{.certificate_pem = to_pem(leaf), .key_pem = key_to_pem(key)};
    X509_free(leaf);
    EVP_PKEY_free(key);
    return out;
  }
  Identity server(const std::string& name) const {
    return issue(name, "DNS:" + name, "serverAuth");
  }
  Identity client(const std::string& name) const {
    return issue(name, "URI:masque-vpn:" + name, "clientAuth");
  }

 private:
  static void fill(X509* certificate, EVP_PKEY* key, const std::string& common_name, long days) {
    static long serial = 1;
    X509_set_version(certificate, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(certificate), ++serial);
    X509_gmtime_adj(X509_getm_notBefore(certificate), -86400 * 400);
    X509_gmtime_adj(X509_getm_notAfter(certificate), days * 86400);
    X509_NAME* subject = X509_get_subject_name(certificate);
    X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_UTF8,
                               reinterpret_cast<const unsigned char*>(common_name.data()),
                               static_cast<int>(common_name.size()), -1, 0);
    X509_set_issuer_name(certificate, subject);
    X509_set_pubkey(certificate, key);
  }
  static void extend(X509* certificate, int nid, const char* value) {
    X509_EXTENSION* extension = X509V3_EXT_conf_nid(nullptr, nullptr, nid, value);
    X509_add_ext(certificate, extension, -1);
    X509_EXTENSION_free(extension);
  }
  static std::string drain(BIO* bio) {
    char* data = nullptr;
    const long size = BIO_get_mem_data(bio, &data);
    std::string out(data, static_cast<size_t>(size));
    BIO_free(bio);
    return out;
  }
  static std::string to_pem(X509* certificate) {
    BIO* bio = BIO_new(BIO_s_mem());
    PEM_write_bio_X509(bio, certificate);
    return drain(bio);
  }
  static std::string key_to_pem(EVP_PKEY* key) {
    BIO* bio = BIO_new(BIO_s_mem());
    PEM_write_bio_PrivateKey(bio, key, nullptr, nullptr, 0, nullptr, nullptr);
    return drain(bio);
  }

  EVP_PKEY* key_;
  X509* certificate_;
};

}  // namespace masque::testing
