// SPDX-License-Identifier: Apache-2.0
#include "service/pki/certificate.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <ctime>

#include "service/testing/temporary.h"

namespace masque {
namespace {

using testing::Authority;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST(Certificates, a_ca_issues_server_and_client_certificates) {
  const Authority& a = Authority::shared();
  EXPECT_TRUE(check_issued_by(a.server.certificate_pem, a.ca.certificate_pem));
  EXPECT_TRUE(check_issued_by(a.client.certificate_pem, a.ca.certificate_pem));
  EXPECT_TRUE(check_pair(a.server.certificate_pem, a.server.key_pem));
  EXPECT_THAT(a.ca.key_pem, HasSubstr("-----BEGIN PRIVATE KEY-----"));
  const auto ca = read_certificate(a.ca.certificate_pem);
  ASSERT_TRUE(ca);
  EXPECT_EQ(ca->role, CertificateInfo::Role::Ca);
  EXPECT_EQ(ca->common_name, "Test CA");
}

TEST(Certificates, each_is_fit_for_its_own_use_alone) {
  const Authority& a = Authority::shared();
  const auto server = read_certificate(a.server.certificate_pem);
  const auto client = read_certificate(a.client.certificate_pem);
  ASSERT_TRUE(server && client);
  EXPECT_TRUE(server->server_auth);
  EXPECT_FALSE(server->client_auth);
  EXPECT_FALSE(client->server_auth);
  EXPECT_TRUE(client->client_auth);
  EXPECT_EQ(client->common_name, "anna");
  EXPECT_THAT(client->uris, ElementsAre("masque-vpn://user/anna"));
  EXPECT_EQ(client->issuer, "Test CA");
}

TEST(Certificates, names_and_addresses_are_matched_as_clients_do) {
  const auto identity = make_server_certificate(
      Authority::shared().ca, {"vpn.example", "*.net.example", "192.0.2.1", "2001:db8::1"});
  ASSERT_TRUE(identity) << identity.error();
  const auto info = read_certificate(identity->certificate_pem);
  ASSERT_TRUE(info);
  for (const auto name : {"vpn.example", "VPN.Example", "a.net.example", "192.0.2.1", "2001:db8::1",
                          "2001:DB8:0::1"}) {
    EXPECT_TRUE(certificate_names(*info, name)) << name;
  }
  for (const auto name : {"example", "x.vpn.example", "net.example", "a.b.net.example",
                          ".net.example", "192.0.2.2", ""}) {
    EXPECT_FALSE(certificate_names(*info, name)) << name;
  }
}

TEST(Certificates, serials_keys_and_fingerprints_differ) {
  const auto one = make_client_certificate(Authority::shared().ca, "bob");
  const auto two = make_client_certificate(Authority::shared().ca, "bob");
  EXPECT_NE(one->fingerprint, two->fingerprint);
  EXPECT_NE(read_certificate(one->certificate_pem)->serial,
            read_certificate(two->certificate_pem)->serial);
  EXPECT_EQ(one->fingerprint, read_certificate(one->certificate_pem)->fingerprint);
  EXPECT_EQ(one->fingerprint.size(), 64u);
}

TEST(Certificates, time_is_judged_with_a_sentence) {
  const auto info = read_certificate(Authority::shared().client.certificate_pem);
  ASSERT_TRUE(info);
  const int64_t now = std::time(nullptr);
  EXPECT_TRUE(check_validity(*info, now));
  EXPECT_NEAR(static_cast<double>(info->not_after - now), kClientDays * 86'400.0, 100.0);
  EXPECT_THAT(check_validity(*info, info->not_after + 1).error(), HasSubstr("expired on"));
  EXPECT_THAT(check_validity(*info, info->not_before - 1).error(), HasSubstr("clock"));
}

TEST(Certificates, none_outlives_its_ca) {
  const auto short_ca = make_ca("Short", 10);
  const auto leaf = make_client_certificate(*short_ca, "bob", 1000);
  EXPECT_LE(read_certificate(leaf->certificate_pem)->not_after,
            read_certificate(short_ca->certificate_pem)->not_after);
  EXPECT_THAT(make_client_certificate(*make_ca("Old", -2), "bob").error(), HasSubstr("expired"));
}

TEST(Certificates, faults_are_sentences) {
  const Authority& a = Authority::shared();
  EXPECT_THAT(check_pair(a.server.certificate_pem, a.client.key_pem).error(),
              HasSubstr("does not belong"));
  EXPECT_THAT(check_pair("junk", a.client.key_pem).error(), HasSubstr("PEM"));
  EXPECT_THAT(check_pair(a.server.certificate_pem, "junk").error(), HasSubstr("key is damaged"));
  EXPECT_THAT(check_pair(a.server.certificate_pem,
                         "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED "
                         "PRIVATE KEY-----\n")
                  .error(),
              HasSubstr("encrypted"));
  EXPECT_THAT(
      check_issued_by(a.server.certificate_pem, make_ca("Test CA")->certificate_pem).error(),
      HasSubstr("not issued by this CA"));
  Identity mixed = a.ca;
  mixed.key_pem = a.client.key_pem;
  EXPECT_THAT(make_client_certificate(mixed, "bob").error(), HasSubstr("does not belong"));
}

TEST(Certificates, damaged_texts_never_crash) {
  const std::string pem = Authority::shared().server.certificate_pem;
  for (size_t size = 0; size < pem.size(); size += 7)
    EXPECT_FALSE(read_certificate(pem.substr(0, size)));
  for (size_t i = 30; i + 30 < pem.size(); i += 5) {
    std::string damaged = pem;
    damaged[i] = damaged[i] == 'A' ? 'B' : 'A';
    (void)read_certificate(damaged);
    EXPECT_FALSE(check_issued_by(damaged, Authority::shared().ca.certificate_pem)) << i;
  }
}

TEST(Tokens, are_long_random_and_hashed_by_sha256) {
  EXPECT_EQ(sha256_hex("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_NE(make_token(), make_token());
  EXPECT_EQ(make_token().size(), 5 + 64u);
}

}  // namespace
}  // namespace masque
