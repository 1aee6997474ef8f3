// SPDX-License-Identifier: Apache-2.0
#include "service/cli/parser.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <format>
#include <map>
#include <memory>

#include "core/server/policy.h"
#include "service/config/reader.h"
#include "service/exit_code.h"
#include "service/pki/certificate.h"

namespace masque {

namespace {

constexpr int kWatchIntervalMin = 100;
constexpr int kWatchIntervalMax = 60'000;

using Choices = std::map<const CLI::Option*, std::vector<std::string>>;

// The parser with the values it fills. `chosen` is set by the callback of the subcommand given.
class Definition {
 public:
  Definition();
  CLI::App app{"VPN over MASQUE: IP packets in HTTP/3 (RFC 9484)", "masque-vpn"};
  Choices choices;
  std::optional<Command> chosen;

 private:
  template <class Options>
  CLI::App* command(CLI::App* parent, const std::string& name, const std::string& description,
                    Options*& options);
  void add_init();
  void add_user();
  void add_session();
  void add_running();
  void add_information();
  void add_policy(CLI::App* command, PolicyOptions& policy);
  void add_instance(CLI::App* command, InstanceOptions& instance);
  void add_user_name(CLI::App* command, std::string& user) {
    command->add_option("user", user, "The user's name")->type_name("USER")->required();
  }
  void add_config(CLI::App* command, std::string& config) {
    command->add_option("-c,--config", config, "Configuration file of the server")
        ->type_name("FILE")
        ->required();
  }
  void restrict(CLI::Option* option, std::vector<std::string> values) {
    option->check(CLI::IsMember(values));
    choices.emplace(option, std::move(values));
  }
  std::vector<std::shared_ptr<void>> owned_;
};

// A subcommand whose values are `*options`, which live as long as the definition.
template <class Options>
CLI::App* Definition::command(CLI::App* parent, const std::string& name,
                              const std::string& description, Options*& options) {
  auto values = std::make_shared<Options>();
  options = values.get();
  owned_.push_back(values);
  CLI::App* added = parent->add_subcommand(name, description);
  added->callback([this, filled = options] { chosen = *filled; });
  return added;
}

// Repeatable, and one value at a time, so that a positional after it is not swallowed.
CLI::Option* add_list(CLI::App* command, const char* name, std::vector<std::string>& values,
                      const char* description) {
  return command->add_option(name, values, description)->type_name("CIDR")->allow_extra_args(false);
}

Definition::Definition() {
  app.require_subcommand(1);
  app.set_version_flag("--version", "masque-vpn " MASQUE_VERSION, "Print the version and exit");
  app.set_help_flag("-h,--help", "Print help and exit");
  app.footer(
      "Exit codes: 0 done, 1 failed, 2 usage, 3 not connected, 69 unreachable, 75 later, 77 "
      "refused, "
      "78 configuration.");
  add_running();
  add_init();
  add_user();
  add_session();
  add_information();
}

void Definition::add_running() {
  ServerOptions* server = nullptr;
  CLI::App* c = command(&app, "server", "Run the gateway in the foreground", server);
  add_config(c, server->config);
  restrict(c->add_option("--log-level", server->log_level, "Instead of the configured one")
               ->type_name("LEVEL"),
           {"trace", "debug", "info", "warn", "error", "off"});

  ClientOptions* client = nullptr;
  c = command(&app, "client", "Run the client in the foreground", client);
  c->add_option("-c,--config", client->config, "Client profile")->type_name("FILE")->required();
  restrict(c->add_option("--log-level", client->log_level, "Instead of the configured one")
               ->type_name("LEVEL"),
           {"trace", "debug", "info", "warn", "error", "off"});

  StatusOptions* status = nullptr;
  c = command(&app, "status", "Show the state of a running server or client", status);
  add_instance(c, status->instance);
  c->add_flag("--json", status->json, "Print JSON for programs");

  WatchOptions* watch = nullptr;
  c = command(&app, "watch", "Show live what a running server or client does to its packets",
              watch);
  add_instance(c, watch->instance);
  c->add_option("--client", watch->clients,
                "On a server: only the session of this user; repeatable; default: all")
      ->type_name("NAME")
      ->allow_extra_args(false);
  c->add_option("--interval", watch->interval_ms, "How often to look, in milliseconds")
      ->type_name("MS")
      ->default_val(1000)
      ->check(CLI::Range(kWatchIntervalMin, kWatchIntervalMax));
  c->add_flag("--json", watch->json, "Print one JSON object for each interval");
  c->add_flag("--ascii", watch->ascii, "Draw without Unicode, as in a locale that is not UTF-8");

  ReloadOptions* reload = nullptr;
  c = command(&app, "reload", "Make a running server or client read its configuration again",
              reload);
  add_instance(c, reload->instance);
}

void Definition::add_init() {
  InitOptions* init = nullptr;
  CLI::App* c = command(
      &app, "init", "Make a new gateway: CA, server certificate, configuration and database", init);
  c->add_option("directory", init->directory, "Where to put them; nothing there is overwritten")
      ->type_name("DIR")
      ->required();
  c->add_option("--listen", init->listen, "UDP address and port to listen on")
      ->type_name("ADDR:PORT")
      ->required();
  c->add_option("--name", init->name, "Name or address that clients verify the server by")
      ->type_name("HOST")
      ->required();
  add_list(c, "--pool", init->pools,
           "Network to assign addresses from; the gateway takes the first; repeatable")
      ->required();
  add_list(c, "--route", init->routes,
           "Network that clients reach through the gateway; default: the pools; repeatable");
  c->add_option("--tun-name", init->tun_name, "Name of the gateway's interface")->type_name("NAME");
}

void Definition::add_policy(CLI::App* c, PolicyOptions& policy) {
  add_list(c, "--allow", policy.allow,
           "Destination the user may send to; default: all that is advertised; repeatable");
  add_list(c, "--address", policy.address,
           "Fixed address instead of one from the pool; repeatable");
  add_list(c, "--route", policy.route,
           "Network to advertise to this user instead of the server's; repeatable");
  add_list(c, "--subnet", policy.subnet,
           "Own network behind the user, routed to it (site-to-site); repeatable");
  restrict(c->add_option("--reach-clients", policy.reach_clients,
                         "Whether the user may reach other clients")
               ->type_name("yes|no"),
           {"yes", "no"});
  restrict(c->add_option("--reach-gateway", policy.reach_gateway,
                         "What the user may reach of the gateway itself: of its addresses in the "
                         "tunnel nothing, ping or everything, or all of its host")
               ->type_name("no|ping|tunnel|all"),
           {kGatewayReachNames.begin(), kGatewayReachNames.end()});
}

void Definition::add_user() {
  CLI::App* user = app.add_subcommand("user", "Manage who may connect");
  user->require_subcommand(1);

  UserAddOptions* add = nullptr;
  CLI::App* c = command(user, "add",
                        "Issue an identity and write a client profile with everything in it", add);
  add_user_name(c, add->user);
  add_config(c, add->config);
  c->add_option(
       "--endpoint", add->endpoint,
       "Where clients reach the server; default: listen_addr, or the server's name if that "
       "is a wildcard, with its port")
      ->type_name("ADDR[:PORT]");
  c->add_option("--tun-name", add->tun_name, "Name of the client's interface")->type_name("NAME");
  c->add_option("-o,--output", add->output, "Profile to write, - for stdout; default: USER.toml")
      ->type_name("FILE");
  c->add_option("--days", add->days, "How long the certificate is valid")
      ->type_name("DAYS")
      ->default_val(kClientDays)
      ->check(CLI::Range(1, kCaDays));
  add_policy(c, add->policy);

  UserListOptions* list = nullptr;
  c = command(user, "list", "List users and their policy", list);
  add_config(c, list->config);
  c->add_flag("--json", list->json, "Print JSON for programs");

  UserRevokeOptions* revoke = nullptr;
  c = command(user, "revoke", "Withdraw an identity and close its live session", revoke);
  add_user_name(c, revoke->user);
  add_config(c, revoke->config);

  UserSetOptions* set = nullptr;
  c = command(user, "set", "Change a user's policy; only what is given; \"none\" empties a list",
              set);
  add_user_name(c, set->user);
  add_config(c, set->config);
  add_policy(c, set->policy);

  UserTokenOptions* token = nullptr;
  c = command(user, "token", "Issue a new bearer token for a user and print it once", token);
  add_user_name(c, token->user);
  add_config(c, token->config);
}

void Definition::add_instance(CLI::App* c, InstanceOptions& instance) {
  auto* config = c->add_option("-c,--config", instance.config,
                               "The instance that runs with this configuration")
                     ->type_name("FILE");
  c->add_option("--socket", instance.socket,
                "The instance at this control socket; default: the only one running here")
      ->type_name("PATH")
      ->excludes(config);
}

void Definition::add_session() {
  CLI::App* session =
      app.add_subcommand("session", "See and change live sessions of a running server");
  session->require_subcommand(1);

  SessionSetOptions* set = nullptr;
  CLI::App* c =
      command(session, "set", "Change addresses or routes of a connected user at once", set);
  add_user_name(c, set->user);
  add_list(c, "--address", set->addresses,
           "New address instead of the present ones of its IP version; repeatable");
  add_list(c, "--route", set->routes,
           "New route instead of the present ones of its IP version; repeatable");
  add_instance(c, set->instance);

  SessionListOptions* list = nullptr;
  c = command(session, "list", "List the live sessions", list);
  add_instance(c, list->instance);
  c->add_flag("--json", list->json, "Print JSON for programs");

  SessionKickOptions* kick = nullptr;
  c = command(session, "kick", "Close a user's live session; the user may connect again", kick);
  add_user_name(c, kick->user);
  add_instance(c, kick->instance);
}

void Definition::add_information() {
  CheckOptions* check = nullptr;
  CLI::App* c = command(&app, "check", "Check a configuration file and tell every fault", check);
  c->add_option("-c,--config", check->config, "Configuration of a server or client")
      ->type_name("FILE")
      ->required();

  CompletionOptions* completion = nullptr;
  c = command(&app, "completion", "Print the completion script of a shell", completion);
  restrict(c->add_option("shell", completion->shell, "Which shell")->type_name("SHELL")->required(),
           {"bash", "zsh", "fish"});

  ManOptions* man = nullptr;
  c = command(&app, "man", "Print the manual page of the commands or of the configuration", man);
  restrict(c->add_option("page", man->page, "Which page; default: command")->type_name("PAGE"),
           {"command", "config"});
}

OptionModel model_of(const CLI::Option& option, const Choices& choices) {
  OptionModel out;
  for (const auto& name : option.get_snames()) out.names.push_back("-" + name);
  for (const auto& name : option.get_lnames()) out.names.push_back("--" + name);
  if (option.get_items_expected_max() > 0) out.value = option.get_type_name();
  // A check adds its own words to the type's name: "SHELL:{bash,zsh}", "DAYS:INT in [1 - 9]".
  out.value = out.value.substr(0, std::min(out.value.find(":{"), out.value.find(":INT")));
  out.description = option.get_description();
  out.required = option.get_required();
  out.repeated = option.get_items_expected_max() > 1;
  if (const auto found = choices.find(&option); found != choices.end()) out.choices = found->second;
  return out;
}

CommandModel model_of(const CLI::App& app, const Choices& choices) {
  CommandModel out{.name = app.get_name(), .description = app.get_description()};
  for (const CLI::Option* option : app.get_options()) {
    auto model = model_of(*option, choices);
    (option->nonpositional() ? out.options : out.positionals).push_back(std::move(model));
  }
  for (const CLI::App* sub : app.get_subcommands([](const CLI::App*) { return true; })) {
    out.commands.push_back(model_of(*sub, choices));
  }
  return out;
}

// The first word that is no command where one is wanted; the library only says that one is
// required.
std::optional<std::string> unknown_command(const CLI::App& app, int argc, const char* const* argv) {
  const CLI::App* parent = &app;
  for (int i = 1; i < argc; ++i) {
    const auto commands = parent->get_subcommands([](const CLI::App*) { return true; });
    const std::string word = argv[i];
    if (commands.empty() || word.starts_with('-')) return std::nullopt;
    const auto found = std::ranges::find(commands, word, &CLI::App::get_name);
    if (found != commands.end()) {
      parent = *found;
      continue;
    }
    std::vector<std::string> names;
    for (const CLI::App* command : commands) names.push_back(command->get_name());
    const auto near = nearest(word, names);
    return std::format("there is no command {}{}{}", parent == &app ? "" : parent->get_name() + " ",
                       word, near ? std::format(": did you mean {}?", *near) : "");
  }
  return std::nullopt;
}

}  // namespace

std::variant<Command, ParserAnswer> parse_command_line(int argc, const char* const* argv) {
  Definition definition;
  // The library tells its findings by exceptions; they end here.
  try {
    definition.app.parse(argc, argv);
  } catch (const CLI::CallForVersion& version) {
    return ParserAnswer{.text = std::string(version.what()) + "\n", .exit_code = kExitDone};
  } catch (const CLI::CallForHelp&) {
    return ParserAnswer{.text = definition.app.help(), .exit_code = kExitDone};
  } catch (const CLI::ParseError& error) {
    const auto unknown = unknown_command(definition.app, argc, argv);
    return ParserAnswer{.text = std::format("masque-vpn: {}\nTry masque-vpn --help.\n",
                                            unknown.value_or(error.what())),
                        .exit_code = kExitUsage};
  }
  return *definition.chosen;
}

CommandModel command_model() {
  const Definition definition;
  return model_of(definition.app, definition.choices);
}

}  // namespace masque
