// SPDX-License-Identifier: Apache-2.0
// `masque-vpn user ...`: works on the database and tells a running server afterwards.
#include <algorithm>
#include <cerrno>
#include <ctime>
#include <filesystem>
#include <format>
#include <initializer_list>
#include <string_view>
#include <vector>

#include "core/capsule/capsule.h"
#include "host/clock.h"
#include "host/system.h"
#include "service/cli/context.h"
#include "service/config/settings.h"
#include "service/files.h"
#include "service/pki/certificate.h"
#include "service/status_json.h"

namespace masque {

namespace {

struct Server {
  ServerConfig config;
  std::unique_ptr<Store> store;
};

// Configuration and database; the error is an exit code, told. Of the configuration only what says
// where the users are and whom to tell is sure, and the keys `also`: a user is revoked whatever
// else is wrong.
std::expected<Server, int> open_server(const CliContext& cli, const std::string& path,
                                       std::initializer_list<std::string_view> also = {}) {
  std::vector<std::string_view> needed = {"state.database", "api_server.database_path",
                                          "control.socket"};
  needed.insert(needed.end(), also);
  auto config = cli.server_config(path, needed);
  if (!config) return std::unexpected(kExitConfiguration);
  auto store = Store::open(config->database, Store::Open::Existing);
  if (!store) return std::unexpected(cli.fail(store.error()));
  return Server{.config = std::move(*config), .store = std::move(*store)};
}

std::expected<void, int> check_name(const CliContext& cli, const std::string& user) {
  if (is_user_name(user)) return {};
  return std::unexpected(cli.fail(
      kExitUsage,
      std::format("a user's name has 1 to {} of A-Z a-z 0-9 . _ @ -, the first a letter or digit",
                  kUserNameBytesMax)));
}

std::expected<void, int> set_list(const CliContext& cli, std::string_view option,
                                  const std::vector<std::string>& texts, size_t count_max,
                                  std::vector<IpPrefix>& list) {
  if (texts.empty()) return {};
  list.clear();
  if (texts.size() == 1 && texts[0] == "none") return {};
  TRY_VOID(cli.check_count(option, texts.size(), count_max));
  for (const auto& text : texts) {
    const auto prefix = IpPrefix::parse(text);
    if (!prefix) {
      return std::unexpected(cli.fail(
          kExitUsage,
          std::format("{}: \"{}\" is not a network such as 10.1.0.0/16, fd00:1::/64, or none ({})",
                      option, text, to_string(prefix.error()))));
    }
    if (!std::ranges::contains(list, *prefix)) list.push_back(*prefix);
  }
  return {};
}

// As in the configuration: but for default routes, advertised networks do not overlap.
std::expected<void, int> check_apart(const CliContext& cli, std::string_view option,
                                     const std::vector<IpPrefix>& list) {
  for (auto route = list.begin(); route != list.end(); ++route) {
    const auto other = overlapped({list.begin(), route}, *route);
    if (!other) continue;
    return std::unexpected(
        cli.fail(kExitUsage, std::format("{}: {} overlaps {}: name the wider one alone", option,
                                         route->to_string(), other->to_string())));
  }
  return {};
}

std::expected<void, int> apply(const CliContext& cli, const ServerConfig& config,
                               const PolicyOptions& options, UserPolicy& policy) {
  TRY_VOID(set_list(cli, "--allow", options.allow, kUserPrefixesMax, policy.allowed));
  TRY_VOID(set_list(cli, "--address", options.address, kGivenAddressesMax, policy.addresses));
  TRY_VOID(set_list(cli, "--route", options.route, kUserPrefixesMax, policy.routes));
  TRY_VOID(set_list(cli, "--subnet", options.subnet, kUserPrefixesMax, policy.site_subnets));
  TRY_VOID(check_apart(cli, "--route", policy.routes));
  TRY_VOID(check_apart(cli, "--subnet", policy.site_subnets));
  if (!options.reach_clients.empty()) {
    policy.reach_clients = options.reach_clients == "yes" ? ClientReach::Allow : ClientReach::Deny;
  }
  policy.reach_gateway =
      parse_gateway_reach(options.reach_gateway).value_or(policy.reach_gateway);  // checked before
  for (const auto& subnet : policy.site_subnets) {
    const auto pool =
        std::ranges::find_if(config.pools, [&](const IpPrefix& p) { return p.overlaps(subnet); });
    if (pool == config.pools.end()) continue;
    return std::unexpected(cli.fail(
        kExitUsage,
        std::format("--subnet: {} overlaps the pool {}", subnet.to_string(), pool->to_string())));
  }
  return {};
}

// Where the profile dials. A port that is not given is the one the server listens on, not 443.
std::string endpoint_of(const ServerConfig& config, const UserAddOptions& options) {
  if (!options.endpoint.empty()) {
    const auto given = parse_host_and_port(options.endpoint);
    if (!given || given->port) return options.endpoint;  // no endpoint: told when it is checked
    return host_and_port(given->host, config.listen.port);
  }
  if (!config.listen.address.is_any()) return config.listen.to_string();
  return host_and_port(config.server_name, config.listen.port);
}

std::expected<Identity, int> issue_identity(const CliContext& cli, const ServerConfig& config,
                                            const UserAddOptions& options) {
  Identity ca{.certificate_pem = config.ca_certificate.pem,
              .key_pem = config.ca_key_pem,
              .fingerprint = {}};
  if (!config.ca_key_file.empty()) {
    const auto file = read_text_file(config.ca_key_file);
    if (!file) return std::unexpected(cli.fail(kExitConfiguration, file.error().message()));
    ca.key_pem = file->text;
  }
  if (ca.certificate_pem.empty() || ca.key_pem.empty()) {
    return std::unexpected(
        cli.fail(kExitConfiguration, std::format("{}: issuing a certificate needs ca_cert_file "
                                                 "and ca_key_file",
                                                 config.file)));
  }
  auto identity = make_client_certificate(ca, options.user, options.days);
  if (!identity) return std::unexpected(cli.fail(kExitFailed, identity.error()));
  return *identity;
}

std::string profile_toml(const ServerConfig& config, const UserAddOptions& options,
                         const std::string& endpoint, const Identity& identity,
                         const UserPolicy& policy) {
  std::string out = std::format(
      R"(# masque-vpn client profile of {}. It holds the private key: keep it readable by its owner alone.
# Run it with: masque-vpn client -c THIS_FILE

server_addr = {}
server_name = {}
)",
      options.user, toml_string(endpoint), toml_string(config.server_name));
  out += options.tun_name.empty() ? "# tun_name = \"masque0\"\n"
                                  : std::format("tun_name = {}\n", toml_string(options.tun_name));
  out += std::format(
      "log_level = \"info\"\n\nca_pem = '''\n{}'''\n\ncert_pem = '''\n{}'''\n\nkey_pem = "
      "'''\n{}'''\n",
      config.ca_certificate.pem, identity.certificate_pem, identity.key_pem);
  const auto& routes = policy.routes.empty() ? config.routes : policy.routes;
  out += "\n[routes]\naccept = \"gateway\"        # the networks the gateway advertises\n";
  out +=
      std::ranges::any_of(routes, is_default_route)
          ? "accept_default = true      # full tunnel: the gateway offered it when this was made; "
            "false keeps it out\n"
          : "# accept_default = true    # full tunnel, if the gateway offers it\n";
  out += "# exclude = [\"192.168.0.0/16\"]\n";
  if (!policy.site_subnets.empty()) {
    std::vector<std::string> subnets;
    for (const auto& subnet : policy.site_subnets) subnets.push_back(subnet.to_string());
    out += std::format("\n[site]\nadvertise_routes = {}\n", toml_list(subnets));
  }
  return out;
}

void tell_changed(const CliContext& cli, const ServerConfig& config, const std::string& user) {
  size_t sessions = 0;
  if (cli.tell_server(config, UserChangedRequest{.user = user}, sessions) ==
      CliContext::Told::Failed) {
    cli.err(
        "The change is in the database; `masque-vpn reload` or a restart of the server applies "
        "it.\n");
  }
}

std::string date(int64_t unix_seconds) {
  const time_t time = unix_seconds;
  std::tm parts{};
  gmtime_r(&time, &parts);
  return std::format("{:04}-{:02}-{:02}", parts.tm_year + 1900, parts.tm_mon + 1, parts.tm_mday);
}

std::string joined(const std::vector<IpPrefix>& prefixes) {
  std::string out;
  for (const auto& prefix : prefixes) out += (out.empty() ? "" : " ") + prefix.to_string();
  return out.empty() ? "-" : out;
}

Json user_json(const User& user) {
  Json out = {{"name", user.name},
              {"state", user.revoked ? "revoked" : "active"},
              {"created", user.created},
              {"fingerprint", user.fingerprint},
              {"token", !user.token_hash.empty()},
              {"allowed", to_json_array(user.policy.allowed)},
              {"addresses", to_json_array(user.policy.addresses)},
              {"routes", to_json_array(user.policy.routes)},
              {"subnets", to_json_array(user.policy.site_subnets)},
              {"reach_clients", user.policy.reach_clients == ClientReach::Allow},
              {"reach_gateway", to_string(user.policy.reach_gateway)}};
  if (user.revoked) out["revoked"] = *user.revoked;
  return out;
}

struct NewUser {
  User user;
  std::string profile;
};

// After all checks, with nothing written yet.
std::expected<NewUser, int> make_user(const CliContext& cli, const ServerConfig& config,
                                      const UserAddOptions& options) {
  if (!options.tun_name.empty() && !is_interface_name(options.tun_name)) {
    return std::unexpected(cli.fail(
        kExitUsage,
        std::format("--tun-name: \"{}\" is not the name of an interface", options.tun_name)));
  }
  UserPolicy policy;
  TRY_VOID(apply(cli, config, options.policy, policy));
  TRY(const Identity identity, issue_identity(cli, config, options));
  std::string profile =
      profile_toml(config, options, endpoint_of(config, options), identity, policy);
  // The same checks that the client will make: an endpoint that is no endpoint ends here.
  const auto checked = parse_client_config(profile, options.user + ".toml");
  for (const auto& fault : checked.errors) {
    cli.err(std::format("masque-vpn: user add: {}: {}\n",
                        fault.key == "server_addr" ? "--endpoint" : fault.key, fault.text));
  }
  if (!checked.config) return std::unexpected(kExitUsage);
  return NewUser{.user = {.name = options.user,
                          .fingerprint = identity.fingerprint,
                          .token_hash = {},
                          .created = unix_now(),
                          .revoked = {},
                          .policy = std::move(policy)},
                 .profile = std::move(profile)};
}

std::expected<void, int> write_profile(const CliContext& cli, const std::string& path,
                                       const std::string& text) {
  const auto made = write_new_file(path, text, 0600);
  if (made) return {};
  if (made.error().code != EEXIST)
    return std::unexpected(cli.fail(kExitFailed, made.error().message()));
  return std::unexpected(cli.fail(
      kExitFailed,
      std::format("{} exists already and is not overwritten: choose another file with -o", path)));
}

// A database is made only for a user that is there to be added.
StoreResult<void> store_user(StoreResult<std::unique_ptr<Store>> store, const std::string& database,
                             const User& user) {
  if (!store) store = Store::open(database, Store::Open::CreateOrExisting);
  if (!store) return std::unexpected(store.error());
  return (*store)->add_user(user);
}

}  // namespace

int command_user_add(const CliContext& cli, const UserAddOptions& options) {
  if (const auto named = check_name(cli, options.user); !named) return named.error();
  const auto config = cli.server_config(options.config);
  if (!config) return kExitConfiguration;
  const auto made = make_user(cli, *config, options);
  if (!made) return made.error();
  auto store = Store::open(config->database, Store::Open::Existing);
  if (!store && store.error().kind != StoreError::Kind::Missing) return cli.fail(store.error());
  if (store) {
    if (const auto known = (*store)->user(options.user); known && !known->revoked) {
      return cli.fail(
          kExitFailed,
          std::format("user {} exists already: revoke it first to issue a new key", options.user));
    }
  }
  // The profile first: a user in the database whose only key was lost would be of no use.
  const std::string output = options.output.empty() ? options.user + ".toml" : options.output;
  const bool to_stdout = output == "-";
  if (to_stdout) {
    if (const int told = cli.answer(made->profile); told != kExitDone) return told;
  } else if (const auto written = write_profile(cli, output, made->profile); !written) {
    return written.error();
  }
  if (const auto added = store_user(std::move(store), config->database, made->user); !added) {
    if (!to_stdout) (void)sys::unlink(output);
    return cli.fail(added.error());
  }
  tell_changed(cli, *config, options.user);
  if (options.endpoint.empty() && config->listen.address.is_any()) {
    cli.err(std::format(
        "The profile dials {} (server_name): if clients reach the server elsewhere, say so with "
        "--endpoint ADDR:PORT\n",
        endpoint_of(*config, options)));
  }
  return to_stdout ? kExitDone : cli.answer(output + "\n");
}

int command_user_list(const CliContext& cli, const UserListOptions& options) {
  const auto server = open_server(cli, options.config);
  if (!server) return server.error();
  const auto users = server->store->users();
  if (!users) return cli.fail(users.error());
  if (options.json) {
    Json list = Json::array();
    for (const auto& user : *users) list.push_back(user_json(user));
    return cli.answer(dump_json(list) + "\n");
  }
  std::vector<std::vector<std::string>> rows = {{"USER", "STATE", "CREATED", "TOKEN", "ADDRESSES",
                                                 "ALLOWED", "ROUTES", "SUBNETS", "CLIENTS",
                                                 "GATEWAY"}};
  for (const auto& user : *users) {
    const bool reach = user.policy.reach_clients == ClientReach::Allow;
    rows.push_back({user.name, user.revoked ? "revoked" : "active", date(user.created),
                    user.token_hash.empty() ? "no" : "yes", joined(user.policy.addresses),
                    joined(user.policy.allowed), joined(user.policy.routes),
                    joined(user.policy.site_subnets), reach ? "yes" : "no",
                    std::string(to_string(user.policy.reach_gateway))});
  }
  return cli.answer(text_table(rows));
}

int command_user_revoke(const CliContext& cli, const UserRevokeOptions& options) {
  const auto server = open_server(cli, options.config);
  if (!server) return server.error();
  if (const auto revoked = server->store->revoke_user(options.user, unix_now()); !revoked) {
    return cli.fail(revoked.error());
  }
  size_t sessions = 0;
  switch (cli.tell_server(server->config, UserRevokeRequest{.user = options.user}, sessions)) {
    case CliContext::Told::NotRunning:
      cli.err(std::format("{} is revoked; no server is running\n", options.user));
      return kExitDone;
    case CliContext::Told::Done:
      cli.err(std::format("{} is revoked; closed {} session{}\n", options.user, sessions,
                          sessions == 1 ? "" : "s"));
      return kExitDone;
    case CliContext::Told::Failed:
      return cli.fail(
          kExitFailed,
          std::format("{} is revoked in the database, but a live session may go on: restart "
                      "the server",
                      options.user));
  }
  std::unreachable();
}

int command_user_set(const CliContext& cli, const UserSetOptions& options) {
  const auto server = open_server(cli, options.config, {"assign_cidr"});
  if (!server) return server.error();
  const auto user = server->store->user(options.user);
  if (!user) return cli.fail(user.error());
  UserPolicy policy = user->policy;
  if (const auto applied = apply(cli, server->config, options.policy, policy); !applied)
    return applied.error();
  if (const auto set = server->store->set_policy(options.user, policy); !set)
    return cli.fail(set.error());
  tell_changed(cli, server->config, options.user);
  return kExitDone;
}

int command_user_token(const CliContext& cli, const UserTokenOptions& options) {
  const auto server = open_server(cli, options.config, {"auth.mode"});
  if (!server) return server.error();
  const auto user = server->store->user(options.user);
  if (!user) return cli.fail(user.error());
  const std::string token = make_token();
  if (token.empty()) return cli.fail(kExitFailed, "no random numbers to be had");
  // Printed first: the old token goes only for one that somebody has.
  if (const int told = cli.answer(token + "\n"); told != kExitDone) return told;
  if (const auto set = server->store->set_token_hash(options.user, sha256_hex(token)); !set)
    return cli.fail(set.error());
  tell_changed(cli, server->config, options.user);
  if (server->config.auth_mode == ServerConfig::AuthMode::Certificate) {
    cli.err(
        "This server admits certificates only: set [auth] mode = \"certificate-or-token\" to admit "
        "tokens.\n");
  }
  return kExitDone;
}

}  // namespace masque
