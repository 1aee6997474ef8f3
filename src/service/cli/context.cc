// SPDX-License-Identifier: Apache-2.0
#include "service/cli/context.h"

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <format>

#include "service/files.h"
#include "service/start_error.h"
#include "service/status_json.h"

namespace masque {

namespace {

constexpr Duration kControlTimeout = 5s;
constexpr size_t kInstancesMax = 64;

bool nobody_listens(const SysError& error) {
  return error.code == ENOENT || error.code == ECONNREFUSED;
}

// The control socket that a configuration asks for; also of a file with faults, as far as it can be
// told.
std::string control_socket_of(const std::string& path) {
  const auto file = read_text_file(path);
  if (!file) return default_control_socket(path);
  if (config_kind(file->text) == ConfigKind::Client) {
    const auto client = load_client_config(path);
    return client.config ? client.config->control_socket : default_control_socket(path);
  }
  constexpr std::string_view kNeeded[] = {"control.socket"};
  const auto server = load_server_config_for(path, kNeeded);
  return server.config ? server.config->control_socket : default_control_socket(path);
}

bool is_client(const std::string& answer) {
  const auto reply = parse_control_reply(answer);
  const auto status = reply ? parse_json_object(reply->status_json) : std::nullopt;
  return status && text_member(*status, "role") == "client";
}

std::vector<std::string> sockets_in(const std::string& directory) {
  std::vector<std::string> out;
  std::error_code error;
  std::filesystem::directory_iterator entry(directory, error);
  for (; !error && entry != std::filesystem::directory_iterator(); entry.increment(error)) {
    if (entry->path().extension() == ".sock" && out.size() < kInstancesMax)
      out.push_back(entry->path().string());
  }
  std::ranges::sort(out);
  return out;
}

}  // namespace

std::string format_fault(const ConfigError& fault, std::string_view kind) {
  std::string place = fault.file;
  if (fault.line > 0) place += std::format(":{}:{}", fault.line, fault.column);
  return std::format("{}: {}: {}{}{}\n", place, kind, fault.key, fault.key.empty() ? "" : ": ",
                     fault.text);
}

int CliContext::answer(std::string_view text) const {
  const auto written = hooks_.out(text);
  return written ? kExitDone : fail(kExitFailed, written.error().message());
}

int CliContext::fail(int exit_code, std::string_view text) const {
  err(std::format("masque-vpn: {}\n", text));
  return exit_code;
}

std::expected<void, int> CliContext::check_count(std::string_view option, size_t count,
                                                 size_t max) const {
  if (count <= max) return {};
  return std::unexpected(
      fail(kExitUsage, std::format("{}: at most {} networks, not {}", option, max, count)));
}

int CliContext::fail(const StoreError& error) const {
  return fail(exit_code_of(error), error.text);
}

void CliContext::report(const std::vector<ConfigError>& faults, std::string_view kind) const {
  for (const auto& fault : faults) err(format_fault(fault, kind));
}

std::optional<ServerConfig> CliContext::server_config(const std::string& path) const {
  auto loaded = load_server_config(path);
  report(loaded.errors, "error");
  return std::move(loaded.config);
}

std::optional<ServerConfig> CliContext::server_config(
    const std::string& path, std::span<const std::string_view> needed) const {
  auto loaded = load_server_config_for(path, needed);
  report(loaded.errors, "error");
  report(loaded.tolerated, "warning");
  return std::move(loaded.config);
}

std::expected<ControlReply, int> CliContext::ask(const std::string& socket,
                                                 const ControlRequest& request) const {
  const auto line = hooks_.control(socket, to_json(request), kControlTimeout);
  if (!line) {
    if (nobody_listens(line.error())) {
      return std::unexpected(fail(kExitNotConnected, std::format("nothing runs at {}", socket)));
    }
    const bool refused = line.error().code == EACCES || line.error().code == EPERM;
    return std::unexpected(fail(refused ? kExitRefused : kExitFailed,
                                std::format("cannot ask {}: {}{}", socket, line.error().message(),
                                            refused ? " (are you root?)" : "")));
  }
  auto reply = parse_control_reply(*line);
  if (!reply)
    return std::unexpected(fail(kExitFailed, std::format("{}: {}", socket, reply.error())));
  if (!reply->ok) return std::unexpected(fail(reply->exit_code, reply->error));
  return *reply;
}

std::vector<std::string> CliContext::running_instances(Wanted wanted) const {
  std::vector<std::string> candidates = sockets_in(runtime_directory());
  if (runtime_directory() != kSystemRuntimeDirectory &&
      getenv("MASQUE_VPN_RUNTIME_DIR") == nullptr) {
    std::ranges::copy(sockets_in(kSystemRuntimeDirectory), std::back_inserter(candidates));
  }
  std::vector<std::string> running;
  for (const auto& socket : candidates) {
    // A socket that we may not open still belongs to somebody: asking it says why.
    const auto answer = hooks_.control(socket, to_json(StatusRequest{}), kControlTimeout);
    if (!answer && nobody_listens(answer.error())) continue;
    if (wanted == Wanted::Server && answer && is_client(*answer)) continue;
    running.push_back(socket);
  }
  return running;
}

std::expected<std::string, int> CliContext::find_instance(const InstanceOptions& options,
                                                          Wanted wanted) const {
  if (!options.socket.empty()) return options.socket;
  if (!options.config.empty()) return control_socket_of(options.config);
  std::vector<std::string> running = running_instances(wanted);
  if (running.size() > 1) {
    std::vector<std::string> here;
    std::ranges::copy_if(running, std::back_inserter(here), hooks_.shares_network);
    if (here.size() == 1) running = here;
  }
  if (running.size() == 1) return running.front();
  if (running.empty()) {
    return std::unexpected(fail(
        kExitNotConnected, std::format("no masque-vpn {}is running here (say which with -c FILE or "
                                       "--socket PATH)",
                                       wanted == Wanted::Server ? "server " : "")));
  }
  std::string text = "several instances are running, say which with -c FILE or --socket PATH:";
  for (const auto& socket : running) text += "\n  " + socket;
  return std::unexpected(fail(kExitUsage, text));
}

CliContext::Told CliContext::tell_server(const ServerConfig& config, const ControlRequest& request,
                                         size_t& sessions) const {
  const auto line = hooks_.control(config.control_socket, to_json(request), kControlTimeout);
  if (!line && nobody_listens(line.error())) return Told::NotRunning;
  const auto reply = line ? parse_control_reply(*line) : std::unexpected(line.error().message());
  if (reply && reply->ok) {
    sessions = reply->sessions;
    return Told::Done;
  }
  fail(kExitFailed, std::format("the running server could not be told: {}",
                                reply ? reply->error : reply.error()));
  return Told::Failed;
}

std::string toml_string(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      out += {'\\', c};
    } else if (byte < 0x20 || byte == 0x7f) {
      out += std::format("\\u{:04x}", byte);
    } else {
      out += c;
    }
  }
  return out + '"';
}

std::string toml_list(const std::vector<std::string>& items) {
  std::string out = "[";
  for (const auto& item : items) out += (out.size() > 1 ? ", " : "") + toml_string(item);
  return out + "]";
}

std::string text_table(const std::vector<std::vector<std::string>>& rows) {
  std::vector<size_t> widths;
  for (const auto& row : rows) {
    widths.resize(std::max(widths.size(), row.size()));
    for (size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
  }
  std::string out;
  for (const auto& row : rows) {
    std::string line;
    for (size_t i = 0; i < row.size(); ++i) line += std::format("{:<{}}  ", row[i], widths[i]);
    line.erase(line.find_last_not_of(' ') + 1);
    out += line + '\n';
  }
  return out;
}

}  // namespace masque
