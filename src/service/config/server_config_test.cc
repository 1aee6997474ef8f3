// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <format>

#include "base/rng.h"
#include "service/config/config.h"
#include "service/store/sqlite.h"
#include "service/store/store.h"
#include "service/testing/temporary.h"

namespace masque {
namespace {

using testing::Authority;
using ::testing::HasSubstr;
using testing::Temporary;

// The example file of github.com/iselt/masque-vpn, word for word but for its comments' language.
constexpr std::string_view kUpstreamExample = R"(# VPN server configuration

# listen address and port
listen_addr = "0.0.0.0:4433"

# mTLS
cert_file = "cert/server.crt"
key_file = "cert/server.key"
ca_cert_file = "cert/ca.crt"
ca_key_file = "cert/ca.key"

# VPN network, the first address is the gateway's
assign_cidr = "10.99.0.0/24"

# routes advertised to clients
advertise_routes = [
  "10.99.0.0/24"
]

# tun_name = "vpntun0"

log_level = "info"

server_name = "vpn.example.local"

mtu = 1413

[api_server]
listen_addr = "0.0.0.0:8080"
static_dir = "../admin_webui/dist"
database_path = "masque_admin.db")";

class ServerConfigTest : public ::testing::Test {
 protected:
  ServerConfigTest() {
    const Authority& authority = Authority::shared();
    dir.write("cert/server.crt", authority.server.certificate_pem, 0644);
    dir.write("cert/server.key", authority.server.key_pem);
    dir.write("cert/ca.crt", authority.ca.certificate_pem, 0644);
    dir.write("cert/ca.key", authority.ca.key_pem);
  }
  Loaded<ServerConfig> load(std::string_view text, unsigned mode = 0644) {
    return load_server_config(dir.write("server.toml", text, mode));
  }
  // A whole configuration; `changes` replace or add top-level lines, `tables` follow.
  std::string whole(std::string_view changes = "", std::string_view tables = "") {
    std::string out(changes);
    const auto add = [&](std::string_view key, std::string_view value) {
      if (!changes.contains(std::string(key) + " =")) out += std::format("\n{} = {}", key, value);
    };
    add("listen_addr", R"("192.0.2.1:4433")");
    add("server_name", R"("vpn.example.local")");
    add("cert_file", R"("cert/server.crt")");
    add("key_file", R"("cert/server.key")");
    add("ca_cert_file", R"("cert/ca.crt")");
    add("assign_cidr", R"(["10.8.0.0/24", "fd00:8::/64"])");
    return out + "\n" + std::string(tables);
  }
  Temporary dir;
};

TEST_F(ServerConfigTest, loads_the_example_of_masque_vpn_unchanged) {
  const auto loaded = load(kUpstreamExample);
  for (const auto& error : loaded.errors) ADD_FAILURE() << error.message();
  ASSERT_TRUE(loaded.config);
  const ServerConfig& config = *loaded.config;
  EXPECT_EQ(config.listen.to_string(), "0.0.0.0:4433");
  EXPECT_EQ(config.certificate.file, dir.file("cert/server.crt"));
  EXPECT_EQ(config.certificate.pem, Authority::shared().server.certificate_pem);
  EXPECT_EQ(config.ca_key_file, dir.file("cert/ca.key"));
  EXPECT_EQ(config.pools, std::vector{*IpPrefix::parse("10.99.0.0/24")});
  EXPECT_EQ(config.routes, config.pools);
  EXPECT_EQ(config.database, dir.file("masque_admin.db"));
  EXPECT_EQ(config.mtu, 1413u);
  EXPECT_EQ(config.auth_mode, ServerConfig::AuthMode::Certificate);
  EXPECT_EQ(config.unknown_users, ServerConfig::UnknownUsers::Admit);
  std::vector<std::string> warned;
  for (const auto& warning : loaded.warnings) warned.push_back(warning.key);
  EXPECT_THAT(warned,
              ::testing::ElementsAre("mtu", "api_server.listen_addr", "api_server.static_dir"));
}

TEST_F(ServerConfigTest, fills_in_defaults) {
  const auto loaded = load(whole());
  ASSERT_TRUE(loaded.config) << loaded.errors[0].message();
  EXPECT_TRUE(loaded.warnings.empty());
  const ServerConfig& config = *loaded.config;
  EXPECT_EQ(config.routes, config.pools);
  EXPECT_EQ(config.database, dir.file("state.db"));
  EXPECT_EQ(config.state_dir, dir.path());
  EXPECT_EQ(config.control_socket, default_control_socket(dir.file("server.toml")));
  EXPECT_EQ(config.mtu, kMtuAutomatic);
  EXPECT_FALSE(config.nat.enabled);
  EXPECT_EQ(config.ip_forwarding, ServerConfig::IpForwarding::Leave);
  EXPECT_EQ(config.quic.keep_alive, 20s);
}

TEST_F(ServerConfigTest, reads_the_new_tables) {
  const auto loaded =
      load(whole("advertise_routes = [\"0.0.0.0/0\", \"10.8.0.0/24\"]\ntun_name = \"masque0\"", R"(
[nat]
enabled = true
interfaces = ["eth0", "wlan0"]
[network]
ip_forwarding = true
ipv6_probe = "off"
[auth]
mode = "certificate-or-token"
unknown_users = "refuse"
[quic]
congestion = "bbr"
keep_alive = "5s"
idle_timeout = 30
retry = "always"
[limits]
max_clients = 5
max_half_open = 7
[leases]
sticky = false
[log]
format = "json"
[control]
socket = "ctl.sock"
[state]
database = "users.db"
)"));
  ASSERT_TRUE(loaded.config) << loaded.errors[0].message();
  const ServerConfig& config = *loaded.config;
  EXPECT_TRUE(config.nat.enabled);
  EXPECT_THAT(config.nat.interfaces, ::testing::ElementsAre("eth0", "wlan0"));
  EXPECT_EQ(config.ip_forwarding, ServerConfig::IpForwarding::Enable);
  EXPECT_EQ(config.ipv6_probe, MtuProbePolicy::Off);
  EXPECT_EQ(config.auth_mode, ServerConfig::AuthMode::CertificateOrToken);
  EXPECT_EQ(config.unknown_users, ServerConfig::UnknownUsers::Refuse);
  EXPECT_EQ(config.quic.congestion, CongestionChoice::Bbr);
  EXPECT_EQ(config.quic.keep_alive, 5s);
  EXPECT_EQ(config.quic.idle_timeout, 30s);
  EXPECT_EQ(config.quic.retry, RetryChoice::Always);
  EXPECT_EQ(config.limits.clients_max, 5u);
  EXPECT_EQ(config.limits.half_open_max, 7u);
  EXPECT_EQ(config.lease_kind, LeaseKind::Fresh);
  EXPECT_EQ(config.log.format, LogFormat::Json);
  EXPECT_EQ(config.control_socket, dir.file("ctl.sock"));
  EXPECT_EQ(config.database, dir.file("users.db"));
  EXPECT_EQ(config.routes.size(), 3u) << "the IPv6 pool is added";
}

TEST_F(ServerConfigTest, the_older_key_of_another_programs_database_is_no_fault) {
  const std::string text = whole("", "[api_server]\ndatabase_path = \"masque_admin.db\"\n");
  EXPECT_EQ(load(text).config->database, dir.file("masque_admin.db")) << "not there yet";
  ASSERT_TRUE(Store::open(dir.file("masque_admin.db"), Store::Open::Create));
  EXPECT_EQ(load(text).config->database, dir.file("masque_admin.db")) << "ours";
  EXPECT_TRUE(load(text).warnings.empty());

  std::filesystem::remove(dir.file("masque_admin.db"));
  auto database = Database::open(dir.write("masque_admin.db", ""), kStoreBusyTimeout);
  ASSERT_TRUE((*database)->execute("CREATE TABLE clients (id TEXT)"));
  database->reset();
  const auto loaded = load(text);
  ASSERT_TRUE(loaded.config) << loaded.errors[0].message();
  EXPECT_EQ(loaded.config->database, dir.file("state.db"));
  ASSERT_EQ(loaded.warnings.size(), 1u);
  EXPECT_EQ(loaded.warnings[0].key, "api_server.database_path");
}

TEST_F(ServerConfigTest, a_default_route_may_hold_others) {
  const auto loaded =
      load(whole("advertise_routes = [\"10.1.0.0/16\", \"0.0.0.0/0\", \"::/1\", \"fd00:1::/32\"]"));
  EXPECT_TRUE(loaded.config) << loaded.errors[0].message();
}

TEST_F(ServerConfigTest, pools_are_advertised_beside_a_default_route) {
  const auto routes = [&](const std::string& listed) {
    const auto loaded = load(whole("advertise_routes = " + listed));
    EXPECT_TRUE(loaded.config);
    return loaded.config ? loaded.config->routes : std::vector<IpPrefix>();
  };
  const IpPrefix pool = *IpPrefix::parse("10.8.0.0/24");
  EXPECT_THAT(routes("[\"0.0.0.0/0\"]"), ::testing::Contains(pool));
  EXPECT_THAT(routes("[\"::/0\"]"), ::testing::Contains(pool));
  EXPECT_THAT(routes("[\"0.0.0.0/0\", \"10.0.0.0/8\"]"), ::testing::Not(::testing::Contains(pool)))
      << "reached already";
  EXPECT_EQ(routes("[\"192.168.7.0/24\"]").size(), 1u) << "a narrow tunnel stays narrow";
}

TEST_F(ServerConfigTest, an_address_without_host_means_all_addresses) {
  const auto loaded = load(whole("listen_addr = \":4433\""));
  ASSERT_TRUE(loaded.config);
  EXPECT_EQ(loaded.config->listen.to_string(), "[::]:4433");
}

struct Fault {
  std::string_view name;
  std::string_view top;  // replaces or adds top-level lines; the fault is in line `line`
  std::string_view tables;
  uint32_t line;
  std::string_view key;
  std::string_view hint;
};

const Fault kFaults[] = {
    {"unknown_key", "asign_cidr = \"10.1.0.0/16\"", "", 1, "asign_cidr",
     "did you mean \"assign_cidr\"?"},
    {"key_in_the_wrong_table", "enabled = true", "", 1, "enabled",
     "it belongs into the table [nat]"},
    {"top_key_in_a_table", "", "[nat]\nlog_level = \"info\"", 8, "nat.log_level",
     "above the first [table]"},
    {"key_of_a_client", "server_addr = \"a:1\"", "", 1, "server_addr", "client's configuration"},
    {"unknown_table", "", "[nta]\nenabled = true", 7, "nta", "did you mean [nat]?"},
    {"table_as_value", "nat = true", "", 1, "nat", "must be a table"},
    {"string_for_number", "mtu = \"1400\"", "", 1, "mtu",
     "must be a whole number without quotes, not a string"},
    {"number_for_string", "tun_name = 7", "", 1, "tun_name",
     "must be a string in quotes, not a whole number"},
    {"string_for_boolean", "", "[nat]\nenabled = \"yes\"", 8, "nat.enabled",
     "must be true or false"},
    {"fraction", "mtu = 1400.5", "", 1, "mtu", "not a number with a fraction"},
    {"mtu_too_small", "mtu = 1279", "", 1, "mtu", "1280"},
    {"mtu_too_large", "mtu = 65536", "", 1, "mtu", "out of range"},
    {"listen_without_port", "listen_addr = \"0.0.0.0\"", "", 1, "listen_addr", "0.0.0.0:4433"},
    {"listen_port_0", "listen_addr = \"0.0.0.0:0\"", "", 1, "listen_addr", "1 to 65535"},
    {"listen_name", "listen_addr = \"localhost:4433\"", "", 1, "listen_addr", "IP address"},
    {"listen_empty", "listen_addr = \"\"", "", 1, "listen_addr", "is missing"},
    {"name_with_scheme", "server_name = \"https://a\"", "", 1, "server_name", "without scheme"},
    {"pool_not_a_network", "assign_cidr = \"ten\"", "", 1, "assign_cidr", "10.8.0.0/24"},
    {"pool_host_bits", "assign_cidr = \"10.8.0.1/24\"", "", 1, "assign_cidr",
     "did you mean \"10.8.0.0/24\"?"},
    {"pool_length", "assign_cidr = \"10.8.0.0/33\"", "", 1, "assign_cidr", "0 to 32"},
    {"pool_too_small", "assign_cidr = \"10.8.0.0/31\"", "", 1, "assign_cidr", "too small"},
    {"pool_multicast", "assign_cidr = \"224.0.0.0/24\"", "", 1, "assign_cidr",
     "cannot be assigned"},
    {"pool_empty_list", "assign_cidr = []", "", 1, "assign_cidr", "is missing"},
    {"pools_overlap", "assign_cidr = [\"10.8.0.0/16\", \"10.8.3.0/24\"]", "", 1, "assign_cidr",
     "overlaps 10.8.0.0/16"},
    {"pool_and_route_overlap", "advertise_routes = [\"10.8.0.128/25\"]", "", 1, "advertise_routes",
     "overlaps the pool 10.8.0.0/24"},
    {"routes_overlap", "advertise_routes = [\"10.0.0.0/8\", \"10.1.0.0/16\"]", "", 1,
     "advertise_routes", "10.1.0.0/16 overlaps 10.0.0.0/8"},
    {"routes_overlap_backwards", "advertise_routes = [\"fd00:1::/32\", \"fd00::/8\"]", "", 1,
     "advertise_routes", "fd00::/8 overlaps fd00:1::/32"},
    {"route_bad", "advertise_routes = [\"10.9.0.0/24\", 5]", "", 1, "advertise_routes",
     "string in quotes"},
    {"missing_file", "cert_file = \"nothing.crt\"", "", 1, "cert_file", "No such file"},
    {"file_is_a_directory", "cert_file = \"cert\"", "", 1, "cert_file", "directory"},
    {"not_a_certificate", "cert_file = \"cert/server.key\"", "", 1, "cert_file",
     "holds no certificate"},
    {"not_a_key", "key_file = \"cert/server.crt\"", "", 1, "key_file", ""},
    {"key_of_another", "key_file = \"cert/ca.key\"", "", 2, "cert_file", "does not belong"},
    {"ca_key_missing", "ca_key_file = \"none.key\"", "", 1, "ca_key_file", "No such file"},
    {"bad_log_level", "log_level = \"verbose\"", "", 1, "log_level", "\"debug\""},
    {"bad_tun_name", "tun_name = \"much too long a name\"", "", 1, "tun_name", "1 to 15"},
    {"bad_choice", "", "[quic]\ncongestion = \"vegas\"", 8, "quic.congestion", "\"bbr\""},
    {"bad_time", "", "[quic]\nkeep_alive = \"soon\"", 8, "quic.keep_alive", "\"20s\""},
    {"times_do_not_fit", "", "[quic]\nkeep_alive = \"60s\"", 8, "quic.keep_alive",
     "shorter than idle_timeout"},
    {"limit_of_0", "", "[limits]\nmax_clients = 0", 8, "limits.max_clients", "out of range"},
    {"no_state_directory", "", "[state]\ndatabase = \"no/where/x.db\"", 8, "state.database",
     "make it first"},
    {"socket_too_long", "",
     "[control]\nsocket = \"/01234567890123456789012345678901234567890123456789012345678901234"
     "56789012345678901234567890123456789012345.sock\"",
     8, "control.socket", "107"},
    {"not_toml", "mtu = ", "", 1, "", "not valid TOML"},
    {"twice", "mtu = 1400\nmtu = 1400", "", 2, "", "not valid TOML"},
};

// 10.0.0.0/32, 10.0.0.2/32 and so on, one a line.
std::string routes_of(size_t count) {
  std::string out = "advertise_routes = [\n";
  for (size_t i = 0; i < count; ++i)
    out += std::format("\"10.{}.{}.{}/32\",\n", i >> 15, (i >> 7) & 255, 2 * (i & 127));
  return out + "]";
}

TEST_F(ServerConfigTest, routes_at_the_limit_and_past_it) {
  const auto most = load(whole("assign_cidr = \"10.99.0.0/24\"\n" + routes_of(4096)));
  ASSERT_TRUE(most.config) << most.errors[0].message();
  EXPECT_EQ(most.config->routes.size(), 4096u);
  const auto more = load(whole("assign_cidr = \"10.99.0.0/24\"\n" + routes_of(5000)));
  EXPECT_FALSE(more.config);
  ASSERT_EQ(more.errors.size(), 1u);
  EXPECT_THAT(more.errors[0].message(),
              HasSubstr("server.toml:4099:1: advertise_routes: 5000 networks are too many"));
}

class ServerFault : public ServerConfigTest, public ::testing::WithParamInterface<Fault> {};

TEST_P(ServerFault, is_told_with_place_key_and_hint) {
  const Fault& fault = GetParam();
  const auto loaded = load(whole(fault.top, fault.tables));
  EXPECT_FALSE(loaded.config);
  ASSERT_FALSE(loaded.errors.empty());
  const ConfigError* found = &loaded.errors.front();
  for (const auto& error : loaded.errors) {
    if (error.key == fault.key && error.text.contains(fault.hint)) found = &error;
  }
  EXPECT_EQ(found->file, dir.file("server.toml"));
  EXPECT_EQ(found->key, fault.key);
  EXPECT_THAT(found->text, HasSubstr(std::string(fault.hint)));
  EXPECT_GT(found->column, 0u);
  if (!fault.tables.empty() || fault.name == "key_of_another")
    return;  // after a varying number of lines
  EXPECT_EQ(found->line, fault.line);
}

INSTANTIATE_TEST_SUITE_P(Table, ServerFault, ::testing::ValuesIn(kFaults),
                         [](const auto& param) { return std::string(param.param.name); });

TEST_F(ServerConfigTest, tells_every_fault_in_the_order_of_the_file) {
  const auto loaded = load(R"(listen_addr = "nowhere"
server_nam = "vpn.example.local"
assign_cidr = ["10.8.0.0/24", "10.8.0.0/25", "banana"]
mtu = "big"
cert_file = "a.crt"
[nat]
enable = true
)");
  std::vector<std::string> told;
  for (const auto& error : loaded.errors)
    told.push_back(std::format("{}:{} {}", error.line, error.column, error.key));
  EXPECT_THAT(told, ::testing::ElementsAre("1:1 server_name", "1:1 key_file", "1:1 ca_cert_file",
                                           "1:15 listen_addr", "2:1 server_nam", "3:31 assign_cidr",
                                           "3:46 assign_cidr", "4:7 mtu", "5:13 cert_file",
                                           "7:1 nat.enable"));
}

TEST_F(ServerConfigTest, both_file_and_text_of_one_thing_are_refused) {
  const auto loaded = load(
      whole(std::format("cert_pem = '''{}'''", Authority::shared().server.certificate_pem)), 0600);
  ASSERT_EQ(loaded.errors.size(), 1u);
  EXPECT_THAT(loaded.errors[0].text, HasSubstr("both cert_file and cert_pem"));
}

TEST_F(ServerConfigTest, a_key_file_that_others_can_read_is_warned_of) {
  dir.write("cert/server.key", Authority::shared().server.key_pem, 0644);
  dir.write("cert/ca.key", Authority::shared().ca.key_pem, 0644);
  const auto loaded = load(whole("key_file = \"cert/server.key\"\nca_key_file = \"cert/ca.key\""));
  ASSERT_TRUE(loaded.config) << loaded.errors[0].message();
  ASSERT_EQ(loaded.warnings.size(), 2u);
  EXPECT_EQ(loaded.warnings[0].key, "key_file");
  EXPECT_EQ(loaded.warnings[1].key, "ca_key_file");
  EXPECT_THAT(loaded.warnings[0].text, HasSubstr("chmod 600 " + dir.file("cert/server.key")));
}

TEST_F(ServerConfigTest, a_configuration_with_a_key_inside_should_be_secret) {
  const Authority& authority = Authority::shared();
  const std::string text = std::format(R"(listen_addr = "192.0.2.1:4433"
server_name = "vpn.example.local"
cert_pem = '''{}'''
key_pem = '''{}'''
ca_cert_pem = '''{}'''
assign_cidr = "10.8.0.0/24"
)",
                                       authority.server.certificate_pem, authority.server.key_pem,
                                       authority.ca.certificate_pem);
  EXPECT_TRUE(load(text, 0600).warnings.empty());
  const auto open = load(text, 0644);
  ASSERT_TRUE(open.config);
  ASSERT_EQ(open.warnings.size(), 1u);
  EXPECT_EQ(open.warnings[0].key, "key_pem");
}

TEST_F(ServerConfigTest, tokens_alone_need_no_ca) {
  const std::string text = whole("", "[auth]\nmode = \"token\"");
  std::string without = text;
  without.erase(without.find("ca_cert_file"),
                std::string_view("ca_cert_file = \"cert/ca.crt\"").size());
  EXPECT_TRUE(load(without).config);
}

TEST_F(ServerConfigTest, a_certificate_for_another_name_is_warned_of) {
  const auto loaded = load(whole("server_name = \"other.example\""));
  ASSERT_TRUE(loaded.config);
  ASSERT_EQ(loaded.warnings.size(), 1u);
  EXPECT_THAT(loaded.warnings[0].text, HasSubstr("not for \"other.example\""));
}

TEST_F(ServerConfigTest, an_expired_certificate_is_refused) {
  const auto expired = make_server_certificate(Authority::shared().ca, {"vpn.example.local"}, -2);
  ASSERT_TRUE(expired) << expired.error();
  dir.write("cert/server.crt", expired->certificate_pem);
  dir.write("cert/server.key", expired->key_pem);
  const auto loaded = load(whole());
  ASSERT_EQ(loaded.errors.size(), 1u);
  EXPECT_THAT(loaded.errors[0].text, HasSubstr("expired on"));
}

TEST_F(ServerConfigTest, an_unreadable_file_is_one_fault) {
  const auto loaded = load_server_config(dir.file("none.toml"));
  ASSERT_EQ(loaded.errors.size(), 1u);
  EXPECT_THAT(loaded.errors[0].message(), HasSubstr("No such file"));
}

TEST_F(ServerConfigTest, hostile_texts_are_refused_without_a_crash) {
  const std::string nul("tun_name = \"a\\u0000b\"");
  for (const std::string& text :
       {std::string("\xef\xbb\xbfmtu = 1"), std::string("a\0b = 1", 7), nul,
        std::string(300'000, '['), std::string("a = ") + std::string(100'000, '['),
        std::string("a.") + std::string(50'000, 'b') + " = 1", std::string("\xff\xfe = 1"),
        std::string("x = {a = {b = {c = {}}}}"), std::string(2'000'000, '#')}) {
    const auto loaded = load(text);
    EXPECT_FALSE(loaded.config);
    EXPECT_FALSE(loaded.errors.empty());
  }
}

// faults.md K1: whatever happens to a good file, the answer is faults or a configuration, never a
// crash.
TEST_F(ServerConfigTest, changed_bytes_never_crash) {
  const std::string good = whole("advertise_routes = [\"0.0.0.0/0\"]",
                                 "[nat]\nenabled = true\n[quic]\nretry = \"auto\"\n");
  SeededRng rng(7);
  constexpr std::string_view kPieces[] = {"[", "]", "[[", "=",  "\"", "'''", "{",  "}",
                                          ".", ",", "\n", "\0", "#",  "\\u", "1e9"};
  for (int round = 0; round < 500; ++round) {
    std::string text = good;
    for (uint64_t i = 0; i < 1 + rng.below(4); ++i) {
      const auto at = static_cast<size_t>(rng.below(text.size()));
      const auto piece = kPieces[rng.below(std::size(kPieces))];
      rng.below(2) == 0 ? text.insert(at, piece)
                        : text.replace(at, std::min(piece.size(), text.size() - at), piece);
    }
    const auto loaded = parse_server_config(text, dir.file("server.toml"));
    EXPECT_NE(loaded.config.has_value(), !loaded.errors.empty());
  }
}

}  // namespace
}  // namespace masque
