// SPDX-License-Identifier: Apache-2.0
// What each command was told on the command line, and the command line as data for the man page and
// the shell completions.
#pragma once

#include <optional>
#include <string>
#include <variant>
#include <vector>

namespace masque {

struct InitOptions {
  std::string directory, listen, name, tun_name;
  std::vector<std::string> pools, routes;
};

// Unset: not given. "none" empties a list.
struct PolicyOptions {
  std::vector<std::string> allow, address, route, subnet;
  std::string reach_clients;  // "yes", "no" or empty
  std::string reach_gateway;  // of GatewayReach, or empty
};

struct UserAddOptions {
  std::string config, user, endpoint, tun_name, output;
  int days = 0;
  PolicyOptions policy;
};
struct UserListOptions {
  std::string config;
  bool json = false;
};
struct UserRevokeOptions {
  std::string config, user;
};
struct UserSetOptions {
  std::string config, user;
  PolicyOptions policy;
};
struct UserTokenOptions {
  std::string config, user;
};
struct CheckOptions {
  std::string config;
};
// Which running instance: of a configuration file, at a socket, or the only one there is.
struct InstanceOptions {
  std::string config, socket;
};
struct StatusOptions {
  InstanceOptions instance;
  bool json = false;
};
struct WatchOptions {
  InstanceOptions instance;
  std::vector<std::string> clients;
  int interval_ms = 1000;
  bool json = false;
  bool ascii = false;
};
struct SessionSetOptions {
  InstanceOptions instance;
  std::string user;
  std::vector<std::string> addresses, routes;
};
struct SessionListOptions {
  InstanceOptions instance;
  bool json = false;
};
struct SessionKickOptions {
  InstanceOptions instance;
  std::string user;
};
struct ReloadOptions {
  InstanceOptions instance;
};
struct ServerOptions {
  std::string config, log_level;
};
struct ClientOptions {
  std::string config, log_level;
};
struct CompletionOptions {
  std::string shell;
};
struct ManOptions {
  std::string page = "command";
};

using Command =
    std::variant<InitOptions, UserAddOptions, UserListOptions, UserRevokeOptions, UserSetOptions,
                 UserTokenOptions, CheckOptions, StatusOptions, WatchOptions, SessionSetOptions,
                 SessionListOptions, SessionKickOptions, ReloadOptions, ServerOptions,
                 ClientOptions, CompletionOptions, ManOptions>;

struct OptionModel {
  std::vector<std::string> names;  // "-c", "--config"; empty for a positional
  std::string value;               // "FILE"; empty for a flag
  std::string description;
  std::vector<std::string> choices;
  bool required = false;
  bool repeated = false;
};
struct CommandModel {
  std::string name;
  std::string description;
  std::vector<OptionModel> options;  // in the order of definition
  std::vector<OptionModel> positionals;
  std::vector<CommandModel> commands;
};

}  // namespace masque
