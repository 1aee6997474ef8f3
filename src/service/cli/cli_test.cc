// SPDX-License-Identifier: Apache-2.0
#include "service/cli/cli.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cerrno>
#include <format>
#include <map>
#include <set>

#include "core/tunnel/counters.h"
#include "service/cli/context.h"
#include "service/cli/parser.h"
#include "service/config/key_reference.h"
#include "service/config/settings.h"
#include "service/pki/certificate.h"
#include "service/status_json.h"
#include "service/testing/cli_fixture.h"

namespace masque {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

using CliTest = testing::CliFixture;

TEST_F(CliTest, init_makes_a_gateway_that_loads) {
  ASSERT_EQ(init(), kExitDone) << err;
  EXPECT_EQ(out, toml() + "\n");
  for (const auto name : {"ca.key", "server.key", "state.db", "server.keys"}) {
    EXPECT_EQ(read_text_file(dir.file(std::string("gw/") + name))->mode, 0600u) << name;
  }
  const auto loaded = load_server_config(toml());
  ASSERT_TRUE(loaded.config);
  EXPECT_TRUE(loaded.warnings.empty());
  EXPECT_EQ(loaded.config->pools.size(), 2u);
  EXPECT_EQ(loaded.config->routes, loaded.config->pools);
  EXPECT_EQ(loaded.config->unknown_users, ServerConfig::UnknownUsers::Refuse);
  EXPECT_TRUE(check_issued_by(loaded.config->certificate.pem, loaded.config->ca_certificate.pem));
  EXPECT_EQ(run({"check", "-c", toml()}), kExitDone) << err;
  EXPECT_EQ(out, toml() + ": ok\n");
}

TEST_F(CliTest, init_takes_routes_and_an_interface_name) {
  ASSERT_EQ(init({"--route", "0.0.0.0/0", "--route", "::/0", "--tun-name", "gw0"}), kExitDone)
      << err;
  const auto loaded = load_server_config(toml());
  EXPECT_THAT(loaded.config->routes,
              ElementsAre(*IpPrefix::parse("0.0.0.0/0"), *IpPrefix::parse("::/0"),
                          *IpPrefix::parse("10.8.0.0/24"), *IpPrefix::parse("fd00:8::/64")));
  EXPECT_EQ(loaded.config->tun_name, "gw0");
}

TEST_F(CliTest, init_overwrites_nothing) {
  ASSERT_EQ(init(), kExitDone);
  const std::string before = dir.read("gw/ca.key");
  EXPECT_EQ(init(), kExitFailed);
  EXPECT_THAT(err, HasSubstr("exists already"));
  EXPECT_EQ(dir.read("gw/ca.key"), before);
}

TEST_F(CliTest, init_overwrites_no_single_file) {
  for (const std::string name :
       {"ca.crt", "ca.key", "server.crt", "server.key", "state.db", "server.keys", "server.toml"}) {
    std::filesystem::remove_all(dir.file("gw"));
    dir.write("gw/" + name, "mine");
    EXPECT_EQ(init(), kExitFailed) << name;
    EXPECT_THAT(err, HasSubstr(dir.file("gw/" + name) + " exists already"));
    EXPECT_EQ(dir.read("gw/" + name), "mine");
    for (const auto& entry : std::filesystem::directory_iterator(dir.file("gw")))
      EXPECT_EQ(entry.path().filename(), name) << "nothing else is made";
  }
}

TEST_F(CliTest, init_works_in_a_directory_that_is_there) {
  dir.write("gw/lost+found", "");
  ASSERT_EQ(init(), kExitDone) << err;
  EXPECT_EQ(run({"check", "-c", toml()}), kExitDone);
  size_t entries = 0;
  for (const auto& entry : std::filesystem::directory_iterator(dir.file("gw")))
    entries += entry.exists();
  EXPECT_EQ(entries, 8u) << "no temporary directory stays";
}

TEST_F(CliTest, init_with_a_fault_leaves_nothing_behind) {
  const std::vector<std::pair<std::vector<std::string>, std::string>> kCases = {
      {{"--listen", "nowhere", "--name", "a", "--pool", "10.8.0.0/24"}, "--listen"},
      {{"--listen", "0.0.0.0:1", "--name", "a b", "--pool", "10.8.0.0/24"}, "--name"},
      {{"--listen", "0.0.0.0:1", "--name", "a", "--pool", "10.8.0.1/24"}, "--pool"},
      {{"--listen", "0.0.0.0:1", "--name", "a", "--pool", "10.8.0.0/24", "--pool", "10.8.0.0/25"},
       "--pool"},
      {{"--listen", "0.0.0.0:1", "--name", "a", "--pool", "10.8.0.0/24", "--route", "x"},
       "--route"},
      {{"--listen", "0.0.0.0:1", "--name", "a", "--pool", "10.8.0.0/24", "--tun-name", "a/b"},
       "--tun-name"}};
  for (auto [arguments, option] : kCases) {
    arguments.insert(arguments.begin(), {"init", dir.file("gw")});
    EXPECT_EQ(run(arguments), kExitUsage) << option;
    EXPECT_THAT(err, HasSubstr(option));
    EXPECT_EQ(std::ranges::count(err, '\n'), 1) << err;
    EXPECT_TRUE(std::filesystem::is_empty(dir.path())) << option;
    arguments[1] = dir.file("a/b/c");
    EXPECT_EQ(run(arguments), kExitUsage) << option;
    EXPECT_TRUE(std::filesystem::is_empty(dir.path())) << option << ", nor above it";
  }
}

TEST_F(CliTest, user_add_writes_one_file_with_everything_in_it) {
  ASSERT_EQ(init(), kExitDone);
  ASSERT_EQ(
      run({"user", "add", "anna", "-c", toml(), "-o", dir.file("anna.toml"), "--tun-name", "vpn7"}),
      kExitDone)
      << err;
  EXPECT_EQ(out, dir.file("anna.toml") + "\n");
  EXPECT_EQ(read_text_file(dir.file("anna.toml"))->mode, 0600u);
  const auto loaded = load_client_config(dir.file("anna.toml"));
  ASSERT_TRUE(loaded.config) << loaded.errors[0].message();
  EXPECT_TRUE(loaded.warnings.empty());
  const ClientConfig& config = *loaded.config;
  EXPECT_EQ(config.server_host, "192.0.2.1");
  EXPECT_EQ(config.server_name, "vpn.example");
  EXPECT_EQ(config.tun_name, "vpn7");
  EXPECT_TRUE(check_issued_by(config.certificate.pem, config.ca.pem));
  EXPECT_EQ(read_certificate(config.certificate.pem)->common_name, "anna");
  EXPECT_EQ(run({"check", "-c", dir.file("anna.toml")}), kExitDone);
}

// faults.md I9: nothing of the user's key is on the server.
TEST_F(CliTest, user_add_keeps_no_private_key) {
  ASSERT_EQ(init(), kExitDone);
  ASSERT_EQ(add("anna"), kExitDone);
  const std::string key = load_client_config(dir.file("anna.toml")).config->key.pem;
  const std::string marker = key.substr(60, 40);
  ASSERT_EQ(run({"user", "token", "anna", "-c", toml()}), kExitDone);
  const std::string token = out.substr(0, out.size() - 1);
  for (const auto& entry : std::filesystem::recursive_directory_iterator(dir.file("gw"))) {
    const auto file = read_text_file(entry.path().string());
    ASSERT_TRUE(file);
    EXPECT_FALSE(file->text.contains(marker)) << entry.path();
    EXPECT_FALSE(file->text.contains(token)) << entry.path();
  }
}

TEST_F(CliTest, user_add_to_stdout) {
  ASSERT_EQ(init(), kExitDone);
  ASSERT_EQ(
      run({"user", "add", "anna", "-c", toml(), "-o", "-", "--endpoint", "[2001:db8::1]:443"}),
      kExitDone);
  const auto parsed = parse_client_config(out, "x.toml");
  ASSERT_TRUE(parsed.config);
  EXPECT_EQ(parsed.config->server_host, "2001:db8::1");
}

TEST_F(CliTest, a_profile_dials_the_server_name_when_the_server_listens_everywhere) {
  ASSERT_EQ(run({"init", dir.file("gw"), "--listen", "0.0.0.0:4433", "--name", "vpn.example",
                 "--pool", "10.8.0.0/24"}),
            kExitDone);
  ASSERT_EQ(add("anna"), kExitDone) << err;
  EXPECT_THAT(err, HasSubstr("vpn.example:4433"));
  EXPECT_THAT(err, HasSubstr("--endpoint"));
  const auto loaded = load_client_config(dir.file("anna.toml"));
  EXPECT_EQ(loaded.config->server_host, "vpn.example");
  EXPECT_EQ(loaded.config->server_port, 4433);
}

TEST_F(CliTest, an_endpoint_without_a_port_has_the_servers) {
  ASSERT_EQ(init(), kExitDone);
  constexpr std::pair<const char*, const char*> kCases[] = {{"a.example", "a.example"},
                                                            {"192.0.2.7", "192.0.2.7"},
                                                            {"[2001:db8::1]", "2001:db8::1"},
                                                            {"2001:db8::1", "2001:db8::1"}};
  for (const auto& [endpoint, host] : kCases) {
    ASSERT_EQ(run({"user", "add", "anna", "-c", toml(), "-o", "-", "--endpoint", endpoint, "--days",
                   "1"}),
              kExitDone)
        << endpoint << err;
    const auto parsed = parse_client_config(out, "x.toml");
    ASSERT_TRUE(parsed.config) << endpoint;
    EXPECT_EQ(parsed.config->server_host, host);
    EXPECT_EQ(parsed.config->server_port, 4433);
    ASSERT_EQ(run({"user", "revoke", "anna", "-c", toml()}), kExitDone);
  }
}

// Else the client would be connected without a single route.
TEST_F(CliTest, a_profile_of_a_full_tunnel_consents_to_it) {
  ASSERT_EQ(init({"--route", "0.0.0.0/0", "--route", "::/0"}), kExitDone);
  const auto accepts = [&](const std::string& name, std::vector<std::string> more) {
    std::vector<std::string> arguments = {"user", "add", name, "-c", toml(), "-o", "-"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    EXPECT_EQ(run(arguments), kExitDone) << err;
    return parse_client_config(out, "x.toml").config->routes.accept_default;
  };
  EXPECT_TRUE(accepts("anna", {}));
  EXPECT_FALSE(accepts("bert", {"--route", "10.1.0.0/16"})) << "what this user is advertised";
}

TEST_F(CliTest, user_add_overwrites_nothing) {
  ASSERT_EQ(init(), kExitDone);
  dir.write("anna.toml", "mine");
  EXPECT_EQ(add("anna"), kExitFailed);
  EXPECT_EQ(dir.read("anna.toml"), "mine");
  std::filesystem::remove(dir.file("anna.toml"));
  ASSERT_EQ(add("anna"), kExitDone);
  EXPECT_EQ(run({"user", "add", "anna", "-c", toml(), "-o", dir.file("second.toml")}), kExitFailed);
  EXPECT_THAT(err, HasSubstr("exists already"));
  EXPECT_FALSE(std::filesystem::exists(dir.file("second.toml")));
}

TEST_F(CliTest, user_names_and_options_are_checked) {
  ASSERT_EQ(init(), kExitDone);
  EXPECT_EQ(add("../evil"), kExitUsage);
  EXPECT_EQ(run({"user", "add", "b", "-c", toml(), "-o", dir.file("b"), "--allow", "x"}),
            kExitUsage);
  EXPECT_EQ(run({"user", "add", "b", "-c", toml(), "-o", dir.file("b"), "--endpoint", "http://x"}),
            kExitUsage);
  EXPECT_EQ(run({"user", "add", "b", "-c", toml(), "-o", dir.file("b"), "--subnet", "10.8.0.0/16"}),
            kExitUsage);
  EXPECT_THAT(err, HasSubstr("overlaps the pool"));
  EXPECT_EQ(run({"user", "add", "b", "-c", toml(), "-o", dir.file("b"), "--route", "10.0.0.0/8",
                 "--route", "10.1.0.0/16"}),
            kExitUsage);
  EXPECT_THAT(err, HasSubstr("--route: 10.1.0.0/16 overlaps 10.0.0.0/8"));
  EXPECT_EQ(run({"user", "add", "b", "-c", toml(), "-o", dir.file("b"), "--days", "0"}),
            kExitUsage);
  EXPECT_FALSE(std::filesystem::exists(dir.file("b")));
}

TEST_F(CliTest, user_set_changes_what_is_given) {
  ASSERT_EQ(init(), kExitDone);
  ASSERT_EQ(add("anna"), kExitDone);
  ASSERT_EQ(run({"user", "set", "anna", "-c", toml(), "--allow", "10.1.0.0/16", "--allow",
                 "fd00::/8", "--address", "10.8.0.77/32", "--subnet", "192.168.7.0/24",
                 "--reach-clients", "yes", "--reach-gateway", "all"}),
            kExitDone)
      << err;
  ASSERT_EQ(run({"user", "set", "anna", "-c", toml(), "--address", "none"}), kExitDone);
  ASSERT_EQ(run({"user", "list", "-c", toml(), "--json"}), kExitDone);
  const auto json = Json::parse(out)[0];
  EXPECT_EQ(json["allowed"], (Json{"10.1.0.0/16", "fd00::/8"}));
  EXPECT_EQ(json["addresses"], Json::array());
  EXPECT_EQ(json["subnets"], (Json{"192.168.7.0/24"}));
  EXPECT_EQ(json["reach_clients"], true);
  EXPECT_EQ(json["reach_gateway"], "all");
  EXPECT_EQ(json["state"], "active");
  const auto manual = read_text_file(std::string(MASQUE_SOURCE_DIR) + "/docs/operating.md");
  for (const auto& [member, value] : json.items())
    EXPECT_THAT(manual->text, HasSubstr("`" + member + "`"));
  ASSERT_EQ(run({"user", "list", "-c", toml()}), kExitDone);
  EXPECT_THAT(out, HasSubstr("anna  active"));
  EXPECT_EQ(run({"user", "set", "bob", "-c", toml(), "--reach-clients", "no"}), kExitFailed);
  EXPECT_EQ(run({"user", "set", "anna", "-c", toml(), "--reach-gateway", "on"}), kExitUsage);
}

TEST_F(CliTest, lists_at_the_limit_and_past_it) {
  ASSERT_EQ(init(), kExitDone);
  ASSERT_EQ(add("anna"), kExitDone);
  instances["/s"] = control_sessions(1);
  const auto set = [&](std::vector<std::string> command, const char* option, size_t count) {
    for (size_t i = 0; i < count; ++i) {
      command.emplace_back(option);
      command.push_back(std::format("10.9.{}.{}/32", i / 128, 2 * (i % 128)));
    }
    return run(command);
  };
  const std::vector<std::string> user = {"user", "set", "anna", "-c", toml()};
  const std::vector<std::string> session = {"session", "set", "anna", "--socket", "/s"};
  const struct {
    std::vector<std::string> command;
    const char* option;
    size_t max;
  } kCases[] = {{user, "--route", 256},  {user, "--subnet", 256},   {user, "--allow", 256},
                {user, "--address", 32}, {session, "--route", 256}, {session, "--address", 32}};
  for (const auto& c : kCases) {
    EXPECT_EQ(set(c.command, c.option, c.max), kExitDone) << c.option << err;
    EXPECT_EQ(set(c.command, c.option, c.max + 1), kExitUsage) << c.option;
    EXPECT_THAT(err, HasSubstr(std::format("{}: at most {} networks", c.option, c.max)));
  }
}

TEST_F(CliTest, a_site_profile_advertises_its_subnets) {
  ASSERT_EQ(init(), kExitDone);
  ASSERT_EQ(run({"user", "add", "branch", "-c", toml(), "-o", dir.file("b.toml"), "--subnet",
                 "192.168.7.0/24"}),
            kExitDone);
  EXPECT_EQ(load_client_config(dir.file("b.toml")).config->site_routes.size(), 1u);
}

TEST_F(CliTest, user_revoke_tells_the_running_server) {
  ASSERT_EQ(init(), kExitDone);
  ASSERT_EQ(add("anna"), kExitDone);
  const std::string socket = default_control_socket(toml());
  instances[socket] = control_sessions(1);
  asked.clear();
  ASSERT_EQ(run({"user", "revoke", "anna", "-c", toml()}), kExitDone);
  EXPECT_THAT(asked, ElementsAre(std::pair(
                         socket, std::string(R"({"command":"user.revoke","user":"anna"})"))));
  EXPECT_THAT(err, HasSubstr("closed 1 session"));
  instances[socket] = control_error("busy");
  EXPECT_EQ(run({"user", "revoke", "anna", "-c", toml()}), kExitFailed) << "the operator must know";
  instances.clear();
  EXPECT_EQ(run({"user", "revoke", "anna", "-c", toml()}), kExitDone) << "no server runs";
  EXPECT_EQ(run({"user", "revoke", "nobody", "-c", toml()}), kExitFailed);
}

TEST_F(CliTest, check_prints_like_a_compiler) {
  const std::string path = dir.write("bad.toml", "listen_addr = \"0.0.0.0:4433\"\nmtu = \"x\"\n");
  EXPECT_EQ(run({"check", "-c", path}), kExitConfiguration);
  EXPECT_THAT(err, HasSubstr(path + ":2:7: error: mtu: must be a whole number"));
  EXPECT_EQ(out, "");
  EXPECT_EQ(run({"check", "-c", dir.file("none")}), kExitConfiguration);
  dir.write("client.toml", "server_addr = \"a:1\"\nkey_log_file = \"k\"\n");
  EXPECT_EQ(run({"check", "-c", dir.file("client.toml")}), kExitDone);
  EXPECT_THAT(err, HasSubstr(":2:16: warning: key_log_file: unsafe"));
}

TEST_F(CliTest, server_and_client_run_what_was_wired_in) {
  ASSERT_EQ(init(), kExitDone);
  ASSERT_EQ(add("anna"), kExitDone);
  EXPECT_EQ(run({"server", "-c", toml()}), kExitDone);
  EXPECT_EQ(ran, toml());
  EXPECT_TRUE(std::filesystem::is_directory(dir.file("run"))) << "for the control socket";
  EXPECT_EQ(run({"client", "-c", dir.file("anna.toml")}), kExitRefused)
      << "the code of the run is the program's";
  ran.clear();
  EXPECT_EQ(run({"client", "-c", toml()}), kExitConfiguration);
  EXPECT_THAT(err, HasSubstr("it belongs into the server's configuration"));
  EXPECT_EQ(ran, "");
}

ServiceStatus status(ServiceState state) {
  ServiceStatus out;
  out.state = state;
  return out;
}

TEST_F(CliTest, status_exits_by_the_state) {
  instances["/s"] = control_ok(status(ServiceState::Connected));
  EXPECT_EQ(run({"status", "--socket", "/s", "--json"}), kExitDone);
  EXPECT_EQ(Json::parse(out)["state"], "connected");
  instances["/s"] = control_ok(status(ServiceState::Reconnecting));
  EXPECT_EQ(run({"status", "--socket", "/s"}), kExitNotConnected);
  EXPECT_THAT(out, HasSubstr("state        reconnecting"));
  EXPECT_EQ(run({"status", "--socket", "/none", "--json"}), kExitNotConnected);
  EXPECT_EQ(out, "");
  instances["/s"] = "garbage";
  EXPECT_EQ(run({"status", "--socket", "/s"}), kExitFailed);
}

TEST_F(CliTest, status_finds_the_instance) {
  ASSERT_EQ(init(), kExitDone);
  const std::string socket = default_control_socket(toml());
  instances[socket] = control_ok(status(ServiceState::Listening));
  EXPECT_EQ(run({"status", "-c", toml()}), kExitDone);
  EXPECT_EQ(run({"status"}), kExitNotConnected) << "no socket lies there";
  dir.write("run/" + std::filesystem::path(socket).filename().string(), "");
  dir.write("run/stale.sock", "");
  dir.write("run/other.txt", "");
  EXPECT_EQ(run({"status"}), kExitDone) << err;
  instances[dir.file("run/stale.sock")] = control_ok(status(ServiceState::Connected));
  EXPECT_EQ(run({"status"}), kExitUsage);
  EXPECT_THAT(err, HasSubstr(socket));
  EXPECT_EQ(run({"status", "-c", "a", "--socket", "b"}), kExitUsage);
}

// Both ends on one machine, in network namespaces of their own.
TEST_F(CliTest, of_several_instances_the_one_in_this_network_is_meant) {
  const std::string client = dir.write("run/alice.sock", ""),
                    server = dir.write("run/server.sock", "");
  instances[client] = control_ok(status(ServiceState::Connected));
  ServiceStatus listening = status(ServiceState::Listening);
  listening.role = ServiceRole::Server;
  instances[server] = control_ok(listening);
  EXPECT_EQ(run({"status", "--json"}), kExitUsage) << "neither lives here";
  for (const auto& [socket, state] :
       {std::pair(client, "connected"), std::pair(server, "listening")}) {
    in_this_network = socket;
    ASSERT_EQ(run({"status", "--json"}), kExitDone) << err;
    EXPECT_EQ(Json::parse(out)["state"], state);
    ASSERT_EQ(run({"reload"}), kExitDone) << err;
    EXPECT_EQ(asked.back().first, socket);
  }
}

TEST_F(CliTest, sessions_are_asked_of_a_server) {
  const std::string client = dir.write("run/alice.sock", ""),
                    server = dir.write("run/server.sock", "");
  in_this_network = client;
  instances[client] = control_ok(status(ServiceState::Connected));
  EXPECT_EQ(run({"session", "kick", "anna"}), kExitNotConnected);
  EXPECT_THAT(err, HasSubstr("no masque-vpn server is running"));
  ServiceStatus listening = status(ServiceState::Listening);
  listening.role = ServiceRole::Server;
  instances[server] = control_ok(listening);
  EXPECT_EQ(run({"session", "list"}), kExitDone) << err;
  EXPECT_EQ(run({"session", "set", "anna", "--route", "10.0.0.0/8"}), kExitDone) << err;
  EXPECT_EQ(asked.back().first, server);
}

TEST_F(CliTest, a_configured_socket_is_asked) {
  ASSERT_EQ(init(), kExitDone);
  dir.write("gw/server.toml", dir.read("gw/server.toml") + "\n[control]\nsocket = \"own.sock\"\n");
  instances[dir.file("gw/own.sock")] = control_ok(status(ServiceState::Listening));
  EXPECT_EQ(run({"status", "-c", toml()}), kExitDone) << err;
  std::filesystem::remove(dir.file("gw/server.crt"));
  EXPECT_EQ(run({"status", "-c", toml()}), kExitDone) << "whatever else is wrong: " << err;
}

TEST_F(CliTest, session_commands_ask_the_server) {
  instances["/s"] = control_sessions(1);
  EXPECT_EQ(run({"session", "set", "anna", "--address", "10.8.0.9/32", "--route", "10.0.0.0/8",
                 "--route", "fd00::/8", "--socket", "/s"}),
            kExitDone)
      << err;
  EXPECT_EQ(asked.back().second,
            R"({"command":"session.set","user":"anna","addresses":["10.8.0.9/32"],)"
            R"("routes":["10.0.0.0/8","fd00::/8"]})");
  EXPECT_EQ(run({"session", "set", "anna", "--socket", "/s"}), kExitUsage);
  EXPECT_EQ(run({"session", "set", "anna", "--address", "10.8.0.9/24", "--socket", "/s"}),
            kExitUsage);
  EXPECT_EQ(run({"session", "kick", "anna", "--socket", "/s"}), kExitDone);
  EXPECT_EQ(asked.back().second, R"({"command":"session.kick","user":"anna"})");
  instances["/s"] = control_error("no such session: anna");
  EXPECT_EQ(run({"session", "kick", "anna", "--socket", "/s"}), kExitFailed);
  EXPECT_THAT(err, HasSubstr("no such session: anna"));
  instances["/s"] = control_ok();
  EXPECT_EQ(run({"reload", "--socket", "/s"}), kExitDone);

  ServiceStatus server = status(ServiceState::Listening);
  server.role = ServiceRole::Server;
  server.sessions.resize(1);
  server.sessions[0].user = "anna";
  server.sessions[0].addresses = {*IpPrefix::parse("10.8.0.2/32")};
  instances["/s"] = control_ok(server);
  EXPECT_EQ(run({"session", "list", "--socket", "/s"}), kExitDone);
  EXPECT_THAT(out, HasSubstr("anna"));
  EXPECT_THAT(out, HasSubstr("10.8.0.2/32"));
  EXPECT_EQ(run({"session", "list", "--socket", "/s", "--json"}), kExitDone);
  EXPECT_EQ(Json::parse(out)[0]["user"], "anna");
}

TEST_F(CliTest, tokens_are_printed_once_and_stored_hashed) {
  ASSERT_EQ(init(), kExitDone);
  ASSERT_EQ(add("anna"), kExitDone);
  ASSERT_EQ(run({"user", "token", "anna", "-c", toml()}), kExitDone);
  const std::string token = out.substr(0, out.size() - 1);
  EXPECT_THAT(err, HasSubstr("certificate-or-token"));
  const auto store = Store::open(dir.file("gw/state.db"), Store::Open::Existing);
  EXPECT_EQ((*store)->user("anna")->token_hash, sha256_hex(token));
}

TEST_F(CliTest, help_and_version_are_answers_and_faults_are_usage) {
  EXPECT_EQ(run({"--version"}), kExitDone);
  EXPECT_THAT(out, ::testing::StartsWith("masque-vpn "));
  EXPECT_EQ(run({}), kExitUsage);
  EXPECT_EQ(run({"fly"}), kExitUsage);
  EXPECT_THAT(err, HasSubstr("there is no command fly"));
  EXPECT_EQ(run({"user", "ad", "anna"}), kExitUsage);
  EXPECT_THAT(err, HasSubstr("there is no command user ad: did you mean add?"));
  EXPECT_EQ(run({"server"}), kExitUsage);
  EXPECT_EQ(out, "");
  EXPECT_THAT(err, HasSubstr("--config is required"));
  const CommandModel model = command_model();
  const std::function<void(const CommandModel&, const std::vector<std::string>&)> visit =
      [&](const CommandModel& command, const std::vector<std::string>& path) {
        std::vector<std::string> arguments = path;
        arguments.push_back("--help");
        EXPECT_EQ(run(arguments), kExitDone);
        EXPECT_THAT(out, HasSubstr(command.description));
        for (const auto& sub : command.commands) {
          auto longer = path;
          longer.push_back(sub.name);
          visit(sub, longer);
        }
      };
  visit(model, {});
}

// `MASQUE_UPDATE=1 service_test --gtest_filter=Generated*` writes them anew.
TEST(Generated, man_page_and_completions_are_up_to_date) {
  const CommandModel model = command_model();
  const std::pair<std::string, std::string> kFiles[] = {
      {"packaging/man/masque-vpn.1", man_page(model)},
      {"packaging/man/masque-vpn.toml.5", config_man_page()},
      {"packaging/completions/masque-vpn.bash", completion_script(model, "bash")},
      {"packaging/completions/_masque-vpn", completion_script(model, "zsh")},
      {"packaging/completions/masque-vpn.fish", completion_script(model, "fish")}};
  for (const auto& [name, text] : kFiles) {
    const std::string path = std::string(MASQUE_SOURCE_DIR) + "/" + name;
    if (getenv("MASQUE_UPDATE") != nullptr) {
      ASSERT_TRUE(replace_file(path, text, 0644));
    }
    const auto file = read_text_file(path);
    ASSERT_TRUE(file) << path;
    EXPECT_EQ(file->text, text) << "run MASQUE_UPDATE=1 service_test --gtest_filter=Generated*";
  }
}

// Each key that is read has a line in the page, and no other; where a default is written as a
// value, the key takes it.
TEST(Documentation, the_manual_page_has_every_configuration_key) {
  const ConfigTable nothing;
  ConfigReader server("", nothing), client("", nothing);
  read_server_keys(server);
  read_client_keys(client);
  std::set<std::string, std::less<>> of_server, of_client;
  const auto add = [](auto& keys, std::span<const KeyReference> rows) {
    for (const auto& row : rows) EXPECT_TRUE(keys.emplace(row.key).second) << row.key << " twice";
  };
  add(of_server, server_key_reference());
  add(of_server, common_key_reference());
  add(of_client, client_key_reference());
  add(of_client, common_key_reference());
  EXPECT_EQ(of_server, server.known_keys());
  EXPECT_EQ(of_client, client.known_keys());

  const auto check = [](std::span<const KeyReference> rows, auto parse) {
    for (const auto& [key, value, meaning] : rows) {
      EXPECT_FALSE(meaning.empty() || meaning.ends_with('.')) << key;
      const bool literal = value.starts_with('"') || value == "true" || value == "false" ||
                           value.find_first_not_of("0123456789") == std::string_view::npos;
      if (value.empty() || !literal) continue;
      const size_t dot = key.find('.');
      const std::string text =
          dot == std::string_view::npos
              ? std::format("{} = {}", key, value)
              : std::format("[{}]\n{} = {}", key.substr(0, dot), key.substr(dot + 1), value);
      for (const auto& fault : parse(text, "/etc/x.toml").errors)
        EXPECT_NE(fault.key, key) << value;
    }
  };
  check(server_key_reference(), parse_server_config);
  check(common_key_reference(), parse_server_config);
  check(client_key_reference(), parse_client_config);
}

TEST(Documentation, names_every_configuration_key) {
  const auto manual = read_text_file(std::string(MASQUE_SOURCE_DIR) + "/docs/operating.md");
  ASSERT_TRUE(manual);
  const ConfigTable nothing;
  ConfigReader server("", nothing), client("", nothing);
  read_server_keys(server);
  read_client_keys(client);
  const size_t split = manual->text.find("## Configuration of the client");
  ASSERT_NE(split, std::string::npos);
  const std::string of_server = manual->text.substr(0, split),
                    of_client = manual->text.substr(split);
  const auto row = [](const std::string& key) { return HasSubstr("| `" + key + "` |"); };
  for (const auto& key : server.known_keys()) EXPECT_THAT(of_server, row(key));
  for (const auto& key : client.known_keys()) EXPECT_THAT(of_client, row(key));
}

// The first string after log_info( and the like, in all sources.
TEST(Documentation, names_every_log_event) {
  const auto manual = read_text_file(std::string(MASQUE_SOURCE_DIR) + "/docs/operating.md");
  ASSERT_TRUE(manual);
  size_t events = 0;
  for (const auto& entry :
       std::filesystem::recursive_directory_iterator(std::string(MASQUE_SOURCE_DIR) + "/src")) {
    const std::string path = entry.path().string();
    if (!path.ends_with(".cc") || path.ends_with("_test.cc")) continue;
    const std::string text = read_text_file(path)->text;
    for (const std::string_view call : {"log_error(", "log_warn(", "log_info(", "log_debug("}) {
      for (size_t at = text.find(call); at != std::string::npos; at = text.find(call, at + 1)) {
        const size_t quote = text.find_first_not_of(" \n", at + call.size());
        if (quote == std::string::npos || text[quote] != '"') continue;
        const std::string event = text.substr(quote + 1, text.find('"', quote + 1) - quote - 1);
        EXPECT_TRUE(manual->text.contains("`" + event + "`")) << event << " of " << path;
        ++events;
      }
    }
  }
  EXPECT_GT(events, 20u) << "the search itself works";
}

// The members of an object, and of those in it.
void expect_members(const Json& object, std::string_view manual) {
  for (const auto& [member, value] : object.items()) {
    EXPECT_TRUE(manual.contains("`" + member + "`")) << member;
    if (value.is_object()) expect_members(value, manual);
  }
}

TEST(Documentation, names_every_member_of_the_status) {
  const auto manual = read_text_file(std::string(MASQUE_SOURCE_DIR) + "/docs/operating.md");
  ASSERT_TRUE(manual);
  const auto part = [&](std::string_view from, std::string_view to) {
    const size_t begin = manual->text.find(from), end = manual->text.find(to, begin);
    EXPECT_NE(end, std::string::npos) << from;
    return manual->text.substr(begin, end - begin);
  };
  ServiceStatus client{.session = SessionStatus{}};
  ServiceStatus server{.role = ServiceRole::Server, .sessions = {SessionStatus{}}};
  server.sessions[0].path.resilience = ResilienceStatus{.rate = 1.0};
  for (const ServiceStatus& status : {client, server}) {
    Json json = Json::parse(status_to_json(status));
    Json session = status.role == ServiceRole::Server ? json["sessions"][0] : Json::object();
    const Json resilience = session.value("resilience", Json::object());
    session.erase("resilience");
    const std::string common = part("## Status", "`drops` of `counters`");
    expect_members(json, common);
    expect_members(session, common);
    expect_members(resilience, part("`resilience` has `mode`", "### Watch"));
  }
  const std::string drops = part("`drops` of `counters`", "`resilience` has `mode`");
  for (size_t i = 0; i < kDropReasons; ++i) {
    const std::string reason(to_string(static_cast<DropReason>(i)));
    EXPECT_THAT(drops, HasSubstr("| `" + reason + "` |"));
  }
}

TEST(Documentation, names_every_command_option_and_exit_code) {
  const auto manual = read_text_file(std::string(MASQUE_SOURCE_DIR) + "/docs/operating.md");
  ASSERT_TRUE(manual);
  const std::function<void(const CommandModel&, const std::string&)> visit =
      [&](const CommandModel& command, const std::string& path) {
        if (command.commands.empty()) {
          EXPECT_TRUE(manual->text.contains("`masque-vpn " + path)) << path;
        }
        for (const auto& option : command.options)
          EXPECT_TRUE(manual->text.contains(option.names.back())) << option.names.back();
        for (const auto& sub : command.commands)
          visit(sub, path.empty() ? sub.name : path + " " + sub.name);
      };
  visit(command_model(), "");
  for (const int code : {0, 1, 2, 3, 69, 75, 77, 78})
    EXPECT_TRUE(manual->text.contains(std::format("| {} |", code))) << code;
}

}  // namespace
}  // namespace masque
