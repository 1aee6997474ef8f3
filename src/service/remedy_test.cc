// SPDX-License-Identifier: Apache-2.0
#include "service/remedy.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace masque {
namespace {

using ::testing::HasSubstr;
using Cause = CloseReason::Cause;

ClientConfig profile(std::string_view more = "") {
  const auto loaded = parse_client_config(
      std::format("server_addr = \"192.0.2.1:4433\"\nserver_name = \"vpn.example\"\n{}", more),
      "/etc/x.toml");
  return *loaded.config;
}

std::string after(const CloseReason& closed, const ClientConfig& config = profile()) {
  return remedy_of({.state = ClientState::Connecting, .reason = "why"}, closed, config);
}

TEST(Remedy, names_the_key_that_mends_a_refused_certificate) {
  constexpr std::pair<CertificateFault, const char*> kCases[] = {
      {CertificateFault::Untrusted, "set ca_file or ca_pem to the gateway's CA"},
      {CertificateFault::OtherName,
       "the certificate is not for vpn.example: set server_name to a name in it"},
      {CertificateFault::Expired, "the gateway needs a new one"},
      {CertificateFault::NotYetValid, "clock"},
  };
  for (const auto& [fault, words] : kCases)
    EXPECT_THAT(after({.cause = Cause::Tls, .certificate = fault}), HasSubstr(words));
  EXPECT_EQ(after({.cause = Cause::Tls, .certificate = CertificateFault::Other}), "");
}

TEST(Remedy, names_the_key_that_mends_what_the_gateway_closed) {
  const auto alert = [](uint64_t number) {
    return CloseReason{.cause = Cause::Peer, .code = 0x100 + number};
  };
  EXPECT_EQ(after(alert(120)), "server_addr is not the port of a MASQUE gateway");
  EXPECT_EQ(after(alert(112)), "check server_name");
  EXPECT_THAT(after(alert(116)), HasSubstr("set tls_cert and tls_key"));
  ClientConfig known = profile();
  known.certificate.pem = "x";
  for (const uint64_t number : {42u, 45u, 48u, 116u})
    EXPECT_THAT(after(alert(number), known), HasSubstr("user add")) << number;
  EXPECT_EQ(after(alert(80)), "") << "internal_error";
  EXPECT_EQ(after({.cause = Cause::Peer, .application = true, .code = 0x178}), "");
  EXPECT_EQ(after({.cause = Cause::Peer, .code = 0x278}), "");
  EXPECT_THAT(after({.cause = Cause::HandshakeTimeout}), HasSubstr("check server_addr"));
  EXPECT_THAT(after({.cause = Cause::VersionNegotiation}), HasSubstr("server_addr"));
  EXPECT_EQ(after({.cause = Cause::IdleTimeout}), "");
}

TEST(Remedy, names_the_key_that_mends_an_answer) {
  const ClientConfig own = profile("[http]\nuri_template = \"https://vpn.example/{target}/\"\n");
  const auto answered = [](unsigned status, const ClientConfig& config = profile()) {
    return remedy_of({.state = ClientState::Failed, .reason = "why", .status = status},
                     CloseReason{.cause = Cause::Local}, config);
  };
  EXPECT_EQ(answered(404, own), "check [http] uri_template");
  EXPECT_THAT(answered(404), HasSubstr("set [http] uri_template"));
  EXPECT_THAT(answered(401), HasSubstr("[auth] token"));
  EXPECT_THAT(answered(403), HasSubstr("user add"));
  EXPECT_EQ(answered(421), "check server_name");
  EXPECT_EQ(answered(421, own), "check [http] uri_template");
  EXPECT_THAT(answered(501), HasSubstr("server_addr"));
  EXPECT_EQ(answered(503), "") << "its own words say it";
  EXPECT_THAT(answered(0), HasSubstr("server_addr")) << "no CONNECT-IP in its SETTINGS";
  EXPECT_EQ(answered(204), "");
}

TEST(Remedy, of_a_shortage_names_the_key_of_the_gateway) {
  EXPECT_THAT(remedy_of(Shortage::Addresses), HasSubstr("assign_cidr"));
  EXPECT_THAT(remedy_of(Shortage::Sessions), HasSubstr("max_clients"));
  EXPECT_EQ(remedy_of(Shortage::None), "");
}

TEST(Remedy, stands_behind_what_happened) {
  EXPECT_EQ(with_remedy("what", "how"), "what; how");
  EXPECT_EQ(with_remedy("what", ""), "what");
}

}  // namespace
}  // namespace masque
