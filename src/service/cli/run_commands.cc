// SPDX-License-Identifier: Apache-2.0
// Commands that read one configuration and check it or run with it.
#include <cerrno>
#include <filesystem>
#include <format>

#include "service/cli/context.h"
#include "service/files.h"
#include "service/log/log_sink.h"

namespace masque {

namespace {

template <class Config>
int check(const CliContext& cli, const std::string& path, Loaded<Config> loaded) {
  if (!cli.accept(std::move(loaded))) return kExitConfiguration;
  return cli.answer(std::format("{}: ok\n", path));
}

std::optional<LogLevel> log_level(std::string_view name) {
  if (name == "trace") return LogLevel::Trace;
  if (name == "debug") return LogLevel::Debug;
  if (name == "info") return LogLevel::Info;
  if (name == "warn") return LogLevel::Warn;
  if (name == "error") return LogLevel::Error;
  if (name == "off") return LogLevel::Off;
  return std::nullopt;
}

// Logging is on and the socket's directory is there for as long as the command runs.
template <class Config>
int run(const CliContext& cli, const std::optional<Config>& loaded, std::string_view level,
        const std::function<int(const Config&)>& hook) {
  if (!loaded) return kExitConfiguration;
  Config config = *loaded;
  config.log.level = log_level(level).value_or(config.log.level);
  std::error_code error;
  std::filesystem::create_directories(directory_of(config.control_socket), error);
  if (error) {
    return cli.fail(
        kExitConfiguration,
        std::format("cannot make the directory of the control socket {}: {}; set [control] socket",
                    config.control_socket, error.message()));
  }
  StderrLogSink sink(config.log.format, detect_log_target());
  set_log_level(config.log.level);
  set_log_sink(&sink);
  const int code = hook(config);
  set_log_sink(nullptr);
  return code;
}

}  // namespace

int command_check(const CliContext& cli, const CheckOptions& options) {
  const auto file = read_text_file(options.config);
  if (file && config_kind(file->text) == ConfigKind::Client) {
    return check(cli, options.config, load_client_config(options.config));
  }
  return check(cli, options.config, load_server_config(options.config));
}

int command_server(const CliContext& cli, const ServerOptions& options) {
  return run(cli, cli.accept(load_server_config(options.config)), options.log_level,
             cli.hooks().run_server);
}

int command_client(const CliContext& cli, const ClientOptions& options) {
  return run(cli, cli.accept(load_client_config(options.config)), options.log_level,
             cli.hooks().run_client);
}

}  // namespace masque
