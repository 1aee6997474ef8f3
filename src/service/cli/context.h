// SPDX-License-Identifier: Apache-2.0
// What the commands share: telling faults the same way, opening the server's things.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "service/cli/cli.h"
#include "service/cli/options.h"
#include "service/control/protocol.h"
#include "service/exit_code.h"
#include "service/store/store.h"

namespace masque {

// "FILE:LINE:COLUMN: warning: key: text", as compilers say it.
std::string format_fault(const ConfigError& fault, std::string_view kind);

class CliContext {
 public:
  explicit CliContext(const CliHooks& hooks) : hooks_(hooks) {}

  // What the command answers; kExitDone, or kExitFailed when it could not be written, told.
  [[nodiscard]] int answer(std::string_view text) const;
  void err(std::string_view text) const { hooks_.err(text); }
  // One line "masque-vpn: text" and the exit code.
  int fail(int exit_code, std::string_view text) const;
  int fail(const StoreError& error) const;
  // A fault of usage when an option is given more often than its list holds.
  std::expected<void, int> check_count(std::string_view option, size_t count, size_t max) const;

  // Tells warnings and faults; nullopt: exit with kExitConfiguration.
  template <class Config>
  std::optional<Config> accept(Loaded<Config> loaded) const {
    report(loaded.warnings, "warning");
    report(loaded.errors, "error");
    return std::move(loaded.config);
  }
  // The server's configuration, silent about warnings; with `needed`, as load_server_config_for().
  std::optional<ServerConfig> server_config(const std::string& path) const;
  std::optional<ServerConfig> server_config(const std::string& path,
                                            std::span<const std::string_view> needed) const;

  // Sends to a running instance. Result::error is an exit code; the fault has been told.
  std::expected<ControlReply, int> ask(const std::string& socket,
                                       const ControlRequest& request) const;
  // The socket of the instance meant; the error is an exit code, told. Unless it is named, it is
  // the only one running, or of several the only one in the caller's network namespace.
  enum class Wanted : uint8_t { Any, Server };
  std::expected<std::string, int> find_instance(const InstanceOptions& options,
                                                Wanted wanted = Wanted::Any) const;
  // Tells a running server; whether none runs is no fault. False: it runs but could not be told.
  enum class Told : uint8_t { NotRunning, Done, Failed };
  Told tell_server(const ServerConfig& config, const ControlRequest& request,
                   size_t& sessions) const;

  const CliHooks& hooks() const { return hooks_; }

 private:
  void report(const std::vector<ConfigError>& faults, std::string_view kind) const;
  std::vector<std::string> running_instances(Wanted wanted) const;
  const CliHooks& hooks_;
};

// Text as a TOML string in double quotes.
std::string toml_string(std::string_view text);
std::string toml_list(const std::vector<std::string>& items);
// Columns padded to their widest cell, two spaces apart; the first row is the heading.
std::string text_table(const std::vector<std::vector<std::string>>& rows);

int command_init(const CliContext& cli, const InitOptions& options);
int command_user_add(const CliContext& cli, const UserAddOptions& options);
int command_user_list(const CliContext& cli, const UserListOptions& options);
int command_user_revoke(const CliContext& cli, const UserRevokeOptions& options);
int command_user_set(const CliContext& cli, const UserSetOptions& options);
int command_user_token(const CliContext& cli, const UserTokenOptions& options);
int command_check(const CliContext& cli, const CheckOptions& options);
int command_status(const CliContext& cli, const StatusOptions& options);
int command_watch(const CliContext& cli, const WatchOptions& options);
int command_reload(const CliContext& cli, const ReloadOptions& options);
int command_session_set(const CliContext& cli, const SessionSetOptions& options);
int command_session_list(const CliContext& cli, const SessionListOptions& options);
int command_session_kick(const CliContext& cli, const SessionKickOptions& options);
int command_server(const CliContext& cli, const ServerOptions& options);
int command_client(const CliContext& cli, const ClientOptions& options);

}  // namespace masque
