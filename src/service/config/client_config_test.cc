// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <format>

#include "service/config/config.h"
#include "service/config/reader.h"
#include "service/testing/temporary.h"

namespace masque {
namespace {

using testing::Authority;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::Temporary;

std::vector<std::string> keys(const std::vector<ConfigError>& faults) {
  std::vector<std::string> out;
  for (const auto& fault : faults) out.push_back(fault.key);
  return out;
}

// The client example of github.com/iselt/masque-vpn with its placeholders filled in as its server
// does.
std::string upstream_example() {
  const Authority& authority = Authority::shared();
  return std::format(R"(# VPN client configuration
server_addr = "vpn.example.local:4433"
server_name = "vpn.example.local"

# MTU
mtu = 1413

ca_pem = '''
{}
'''

cert_pem = '''
{}
'''

key_pem = '''
{}
'''

insecure_skip_verify = false
tun_name = ""
key_log_file = ""
log_level = "info")",
                     authority.ca.certificate_pem, authority.client.certificate_pem,
                     authority.client.key_pem);
}

class ClientConfigTest : public ::testing::Test {
 protected:
  Loaded<ClientConfig> load(std::string_view text, unsigned mode = 0600) {
    return load_client_config(dir.write("client.toml", text, mode));
  }
  Temporary dir;
};

TEST_F(ClientConfigTest, loads_the_example_of_masque_vpn_unchanged) {
  const auto loaded = load(upstream_example());
  for (const auto& error : loaded.errors) ADD_FAILURE() << error.message();
  ASSERT_TRUE(loaded.config);
  const ClientConfig& config = *loaded.config;
  EXPECT_EQ(config.server_host, "vpn.example.local");
  EXPECT_EQ(config.server_port, 4433);
  EXPECT_EQ(config.verify, ClientConfig::Verify::Server);
  EXPECT_TRUE(config.certificate.present() && config.key.present() && config.ca.present());
  EXPECT_EQ(config.tun_name, "");
  EXPECT_EQ(config.uri_template,
            "https://vpn.example.local:4433/.well-known/masque/ip/{target}/{ipproto}/");
  EXPECT_THAT(keys(loaded.warnings), ElementsAre("mtu"));
}

TEST_F(ClientConfigTest, loads_the_older_example_of_masque_vpn_with_warnings) {
  const auto loaded = load(R"(server_addr = "vpn.example.com:4433"
server_name = "vpn.example.com"
insecure_skip_verify = true
tun_ip = "10.99.0.2/24"
key_log_file = "tls_keys.log"
log_level = "info")",
                           0644);
  ASSERT_TRUE(loaded.config) << loaded.errors[0].message();
  EXPECT_EQ(loaded.config->verify, ClientConfig::Verify::Nothing);
  EXPECT_EQ(loaded.config->key_log_file, dir.file("tls_keys.log"));
  EXPECT_THAT(keys(loaded.warnings),
              ElementsAre("cert_pem", "insecure_skip_verify", "tun_ip", "key_log_file"));
}

TEST_F(ClientConfigTest, insecure_skip_verify_counts_beside_a_ca_too) {
  const auto loaded = load(
      "insecure_skip_verify = true\n" +
      upstream_example().replace(upstream_example().find("insecure_skip_verify = false"), 28, ""));
  ASSERT_TRUE(loaded.config) << loaded.errors[0].message();
  EXPECT_EQ(loaded.config->verify, ClientConfig::Verify::Nothing);
  EXPECT_THAT(loaded.warnings[0].text, HasSubstr("the CA beside it is not used"));
}

TEST_F(ClientConfigTest, tls_cert_and_tls_key_are_files_beside_the_configuration) {
  const Authority& authority = Authority::shared();
  dir.write("anna.crt", authority.client.certificate_pem, 0644);
  dir.write("anna.key", authority.client.key_pem);
  dir.write("ca.crt", authority.ca.certificate_pem, 0644);
  constexpr std::string_view kText = R"(server_addr = "[2001:db8::1]:443"
ca_file = "ca.crt"
tls_cert = "anna.crt"
tls_key = "anna.key")";
  const auto loaded = load(kText, 0644);
  ASSERT_TRUE(loaded.config) << loaded.errors[0].message();
  EXPECT_EQ(loaded.config->certificate.file, dir.file("anna.crt"));
  EXPECT_EQ(loaded.config->server_name, "2001:db8::1");
  EXPECT_EQ(loaded.config->uri_template,
            "https://[2001:db8::1]:443/.well-known/masque/ip/{target}/{ipproto}/");
  EXPECT_TRUE(loaded.warnings.empty());

  dir.write("anna.key", authority.client.key_pem, 0640);
  EXPECT_THAT(keys(load(kText, 0644).warnings), ElementsAre("tls_key"));
}

// The example of the program whose files ours can read has this mode in every checkout.
TEST_F(ClientConfigTest, a_profile_that_others_can_read_is_warned_of) {
  const auto loaded = load(upstream_example(), 0644);
  ASSERT_TRUE(loaded.config) << loaded.errors[0].message();
  ASSERT_THAT(keys(loaded.warnings), ElementsAre("mtu", "key_pem"));
  EXPECT_THAT(loaded.warnings[1].text, HasSubstr("chmod 600"));
}

// Once, and by the key that is set.
TEST_F(ClientConfigTest, what_is_no_pem_is_told_by_its_own_key) {
  const Authority& authority = Authority::shared();
  const auto faults = [&](std::string_view text) {
    return keys(load("server_addr = \"a:1\"\n" + std::string(text), 0600).errors);
  };
  EXPECT_THAT(faults("ca_pem = \"nothing\""), ElementsAre("ca_pem"));
  EXPECT_THAT(faults("ca_pem = \"-----BEGIN CERTIFICATE-----\""), ElementsAre("ca_pem"));
  EXPECT_THAT(
      faults(std::format("cert_pem = \"nothing\"\nkey_pem = '''{}'''", authority.client.key_pem)),
      ElementsAre("cert_pem"));
  EXPECT_THAT(faults(std::format("cert_pem = '''{}'''\nkey_pem = '''{}'''",
                                 authority.client.certificate_pem, authority.ca.key_pem)),
              ElementsAre("cert_pem"))
      << "a key of another certificate";
}

TEST_F(ClientConfigTest, a_key_log_needs_its_directory) {
  EXPECT_THAT(keys(load("server_addr = \"a:1\"\nkey_log_file = \"none/k\"", 0600).errors),
              ElementsAre("key_log_file"));
}

TEST(ConfigKind, counts_the_keys_that_only_one_kind_has) {
  EXPECT_EQ(config_kind("server_name = \"a\"\ninsecure_skip_verify = true"), ConfigKind::Client);
  EXPECT_EQ(config_kind("server_addr = \"a:1\"\nca_file = \"b\"\nassign_cidr = \"10.8.0.0/24\""),
            ConfigKind::Client);
  EXPECT_EQ(config_kind("listen_addr = \":1\"\nassign_cidr = \"10.8.0.0/24\"\ntls_cert = \"a\""),
            ConfigKind::Server);
  EXPECT_EQ(config_kind("[routes]\naccept = \"all\""), ConfigKind::Client);
  EXPECT_EQ(config_kind("= nothing"), ConfigKind::Server);
}

TEST_F(ClientConfigTest, reads_the_new_tables) {
  dir.write("token", "mvpn_abc\n");
  const auto loaded = load(R"(server_addr = "vpn.example.com"
[routes]
accept = ["10.0.0.0/8", "fd00::/8"]
accept_default = true
exclude = ["10.1.0.0/16"]
[auth]
token_file = "token"
[quic]
congestion = "reno"
idle_timeout = "9s"
[network]
fwmark = 0x6d71
ipv6_probe = "require"
[site]
advertise_routes = ["192.168.7.0/24"]
[http]
uri_template = "https://vpn.example.com/vpn"
[log]
format = "json"
[control]
socket = "/tmp/x.sock"
)",
                           0644);
  ASSERT_TRUE(loaded.config) << loaded.errors[0].message();
  const ClientConfig& config = *loaded.config;
  EXPECT_EQ(config.server_port, 443);
  EXPECT_EQ(config.token, "mvpn_abc");
  EXPECT_EQ(config.routes.accept, ClientConfig::RouteAccept::Listed);
  EXPECT_EQ(config.routes.accept_list.size(), 2u);
  EXPECT_TRUE(config.routes.accept_default);
  EXPECT_EQ(config.quic.congestion, CongestionChoice::Reno);
  EXPECT_EQ(config.quic.keep_alive, 3s);  // follows the shorter idle timeout
  EXPECT_EQ(config.fwmark, 0x6d71u);
  EXPECT_EQ(config.ipv6_probe, MtuProbePolicy::Require);
  EXPECT_EQ(config.site_routes.size(), 1u);
  EXPECT_EQ(config.uri_template, "https://vpn.example.com/vpn");
  EXPECT_EQ(config.control_socket, "/tmp/x.sock");
}

struct Fault {
  std::string_view name, text, key, hint;
};
const Fault kFaults[] = {
    {"no_server", "mtu = 1400", "server_addr", "is missing"},
    {"bad_server", "server_addr = \"http://a\"", "server_addr", "vpn.example.com:4433"},
    {"bad_port", "server_addr = \"a:70000\"", "server_addr", "host and a port"},
    {"no_port_after_colon", "server_addr = \"a:\"", "server_addr", "host and a port"},
    {"key_of_a_server", "server_addr = \"a:1\"\nassign_cidr = \"10.0.0.0/8\"", "assign_cidr",
     "server's configuration"},
    {"cert_without_key", "server_addr = \"a:1\"\ncert_pem = '''-----BEGIN CERTIFICATE-----'''",
     "tls_key", "needs its key"},
    {"route_word", "server_addr = \"a:1\"\n[routes]\naccept = \"everything\"", "routes.accept",
     "\"gateway\""},
    {"token_with_spaces", "server_addr = \"a:1\"\n[auth]\ntoken = \"a b\"", "auth.token",
     "bearer token"},
    {"two_tokens", "server_addr = \"a:1\"\n[auth]\ntoken = \"a\"\ntoken_file = \"b\"",
     "auth.token_file", "both"},
    {"sites_overlap",
     "server_addr = \"a:1\"\n[site]\nadvertise_routes = [\"10.0.0.0/8\", \"10.1.0.0/16\"]",
     "site.advertise_routes", "overlaps 10.0.0.0/8"},
    {"site_default", "server_addr = \"a:1\"\n[site]\nadvertise_routes = [\"0.0.0.0/0\"]",
     "site.advertise_routes", "default route"},
    // proves: T7
    {"template_http", "server_addr = \"a:1\"\n[http]\nuri_template = \"http://a/\"",
     "http.uri_template", "https"},
    {"template_without_path", "server_addr = \"a:1\"\n[http]\nuri_template = \"https://a\"",
     "http.uri_template", "https"},
    {"template_variable_in_host",
     "server_addr = \"a:1\"\n[http]\nuri_template = \"https://{target}/\"", "http.uri_template",
     "https"},
    {"mark_of_0", "server_addr = \"a:1\"\n[network]\nfwmark = 0", "network.fwmark", "out of range"},
    {"resilience_mode", "server_addr = \"a:1\"\n[resilience]\nmode = \"on\"", "resilience.mode",
     "\"auto\", \"off\", \"calls\", \"bulk\""},
    {"resilience_delay", "server_addr = \"a:1\"\n[resilience]\nmax_added_delay_ms = 501",
     "resilience.max_added_delay_ms", "10 to 500"},
    {"resilience_code", "server_addr = \"a:1\"\n[resilience]\ncode = \"raptor\"", "resilience.code",
     "\"reed-solomon\""},
    {"resilience_window", "server_addr = \"a:1\"\n[resilience]\nwindow = 256", "resilience.window",
     "4 to 255"},
    {"resilience_queue", "server_addr = \"a:1\"\n[resilience]\nqueue_target_ms = 4",
     "resilience.queue_target_ms", "5 to 200"},
    {"resilience_dscp", "server_addr = \"a:1\"\n[resilience]\nrealtime_dscp = [\"EF\", \"64\"]",
     "resilience.realtime_dscp", "\"64\" is not a DSCP"},
    {"resilience_ports", "server_addr = \"a:1\"\n[resilience]\nrealtime_ports = [\"9-8\"]",
     "resilience.realtime_ports", "\"9-8\" is not a UDP port"},
    {"retry_is_the_servers", "server_addr = \"a:1\"\n[quic]\nretry = \"auto\"", "quic.retry",
     "server's configuration"},
};

TEST_F(ClientConfigTest, site_routes_at_the_limit_and_past_it) {
  std::string routes;
  for (int i = 0; i < 4096; ++i) routes += std::format("\"10.{}.{}.0/24\",\n", i >> 8, i & 255);
  const auto text = [](const std::string& list) {
    return "server_addr = \"a:1\"\n[auth]\ntoken = \"a\"\n[site]\nadvertise_routes = [\n" + list +
           "]";
  };
  const auto most = load(text(routes));
  EXPECT_TRUE(most.errors.empty()) << most.errors[0].message();
  const auto more = load(text(routes + "\"10.16.0.0/24\""));
  ASSERT_EQ(more.errors.size(), 1u);
  EXPECT_THAT(more.errors[0].message(),
              HasSubstr(":4102:1: site.advertise_routes: 4097 networks are too many"));
}

class ClientFault : public ClientConfigTest, public ::testing::WithParamInterface<Fault> {};
TEST_P(ClientFault, is_told_with_key_and_hint) {
  const auto loaded = load(GetParam().text);
  EXPECT_FALSE(loaded.config);
  ASSERT_THAT(keys(loaded.errors), ::testing::Contains(GetParam().key));
  for (const auto& error : loaded.errors) {
    if (error.key == GetParam().key) {
      EXPECT_THAT(error.message(), HasSubstr(std::string(GetParam().hint)));
    }
  }
}
INSTANTIATE_TEST_SUITE_P(Table, ClientFault, ::testing::ValuesIn(kFaults),
                         [](const auto& param) { return std::string(param.param.name); });

TEST(ConfigKindTest, is_told_by_the_keys) {
  EXPECT_EQ(config_kind("listen_addr = \"\""), ConfigKind::Server);
  EXPECT_EQ(config_kind("server_addr = \"\""), ConfigKind::Client);
  EXPECT_EQ(config_kind("garbage"), ConfigKind::Server);
}

TEST(RouteAcceptance, default_routes_need_consent) {
  const auto prefix = [](std::string_view text) { return *IpPrefix::parse(text); };
  ClientConfig::Routes routes;
  EXPECT_TRUE(accepts_route(routes, prefix("10.0.0.0/8")));
  for (const auto text :
       {"0.0.0.0/0", "0.0.0.0/1", "128.0.0.0/1", "64.0.0.0/2", "::/0", "8000::/1"}) {
    EXPECT_FALSE(accepts_route(routes, prefix(text))) << text;
  }
  routes.accept_default = true;
  EXPECT_TRUE(accepts_route(routes, prefix("0.0.0.0/1")));
  routes.exclude = {prefix("192.168.0.0/16")};
  EXPECT_FALSE(accepts_route(routes, prefix("192.168.4.0/24")));
  routes = {.accept = ClientConfig::RouteAccept::Listed,
            .accept_list = {prefix("10.0.0.0/8")},
            .exclude = {},
            .accept_default = false};
  EXPECT_TRUE(accepts_route(routes, prefix("10.3.0.0/16")));
  EXPECT_FALSE(accepts_route(routes, prefix("11.0.0.0/8")));
  EXPECT_FALSE(accepts_route(routes, prefix("0.0.0.0/0")));
  routes.accept = ClientConfig::RouteAccept::All;
  EXPECT_TRUE(accepts_route(routes, prefix("0.0.0.0/0")));
}

TEST(Durations, are_written_with_a_unit) {
  EXPECT_EQ(parse_duration("500ms"), 500ms);
  EXPECT_EQ(parse_duration("20s"), 20s);
  EXPECT_EQ(parse_duration("2m"), 2min);
  EXPECT_EQ(parse_duration("1h"), 1h);
  for (const auto text : {"", "s", "-1s", "1", "1d", "1.5s", "99999999999s"})
    EXPECT_FALSE(parse_duration(text)) << text;
}

TEST(ControlSocketPath, is_one_for_all_names_of_a_file) {
  const Temporary dir;
  dir.write("real.toml", "");
  std::filesystem::create_symlink("real.toml", dir.file("link.toml"));
  EXPECT_EQ(default_control_socket(dir.file("real.toml")),
            default_control_socket(dir.file("link.toml")));
  EXPECT_EQ(default_control_socket(dir.file("x/../real.toml")),
            default_control_socket(dir.file("real.toml")));
  EXPECT_NE(default_control_socket(dir.file("a/real.toml")),
            default_control_socket(dir.file("b/real.toml")));
}

// Every example loads: certificates that it names are made for it.
TEST(Examples, load) {
  const Authority& authority = Authority::shared();
  for (const auto name : {"laptop", "full-tunnel", "branch", "gateway-nat"}) {
    const Temporary dir;
    const auto text = read_text_file(std::format("{}/examples/{}.toml", MASQUE_SOURCE_DIR, name));
    ASSERT_TRUE(text) << name;
    const std::string path = dir.write("example.toml", text->text, 0644);
    dir.write("server.crt",
              make_server_certificate(authority.ca, {"vpn.example.com"})->certificate_pem, 0644);
    dir.write("ca.crt", authority.ca.certificate_pem, 0644);
    dir.write("ca.key", authority.ca.key_pem);
    const auto server = make_server_certificate(authority.ca, {"vpn.example.com"});
    dir.write("server.crt", server->certificate_pem, 0644);
    dir.write("server.key", server->key_pem);
    dir.write("client.crt", authority.client.certificate_pem, 0644);
    dir.write("client.key", authority.client.key_pem);
    const auto check = [&](const auto& loaded) {
      for (const auto& error : loaded.errors) ADD_FAILURE() << error.message();
      for (const auto& warning : loaded.warnings) ADD_FAILURE() << warning.message();
      EXPECT_TRUE(loaded.config);
    };
    config_kind(text->text) == ConfigKind::Server ? check(load_server_config(path))
                                                  : check(load_client_config(path));
  }
}

}  // namespace
}  // namespace masque
