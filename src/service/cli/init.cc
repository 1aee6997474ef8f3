// SPDX-License-Identifier: Apache-2.0
// `masque-vpn init`: everything is made in a temporary directory and moved into place at the end,
// so a failure leaves nothing behind and nothing that exists is overwritten.
#include <fcntl.h>
#include <stdio.h>

#include <cerrno>
#include <filesystem>
#include <format>

#include "host/random.h"
#include "host/system.h"
#include "service/cli/context.h"
#include "service/files.h"
#include "service/pki/certificate.h"
#include "service/store/server_keys.h"

namespace masque {

namespace {

namespace fs = std::filesystem;

// In the order they are moved into place: the configuration last, because it makes the directory
// whole.
constexpr std::string_view kFiles[] = {"ca.crt",   "ca.key",      "server.crt", "server.key",
                                       "state.db", "server.keys", "server.toml"};

std::string server_toml(const InitOptions& options) {
  std::string out = std::format(
      R"(# masque-vpn gateway. Every key is explained in docs/operating.md; `masque-vpn check -c FILE` checks this
# file, `systemctl reload` or SIGHUP applies a change, or says in the log that it needs a restart.

listen_addr = {}       # UDP
server_name = {}       # clients verify the server by this name
cert_file = "server.crt"
key_file = "server.key"
ca_cert_file = "ca.crt"          # issues and verifies the users' identities
ca_key_file = "ca.key"           # only `user add` reads it: keep it elsewhere if you like

assign_cidr = {}       # the gateway takes the first address of each
)",
      toml_string(options.listen), toml_string(options.name), toml_list(options.pools));
  const auto& routes = options.routes.empty() ? options.pools : options.routes;
  out += std::format("advertise_routes = {}  # what clients reach through the gateway\n",
                     toml_list(routes));
  out += options.tun_name.empty() ? "# tun_name = \"masque0\"\n"
                                  : std::format("tun_name = {}\n", toml_string(options.tun_name));
  out += R"(log_level = "info"               # trace, debug, info, warn, error, off

[auth]
mode = "certificate"             # "certificate-or-token" also admits `user token` bearers
unknown_users = "refuse"         # only users of the database, even when the CA signed for others

[network]
ip_forwarding = false            # true: switch forwarding on while the gateway runs

[nat]
enabled = false                  # true: clients appear with this machine's address
# interfaces = ["eth0"]

[quic]
# congestion = "cubic"           # or "bbr", "reno"
# keep_alive = "20s"
# idle_timeout = "60s"
# retry = "auto"

[resilience]
mode = "off"                     # "auto": against loss and jitter, where the client has it on too

[state]
database = "state.db"
)";
  return out;
}

// A fault of the file that we are about to write is one of the command line: told by option.
std::string option_of(const std::string& key) {
  if (key == "listen_addr") return "--listen";
  if (key == "server_name") return "--name";
  if (key == "assign_cidr") return "--pool";
  if (key == "advertise_routes") return "--route";
  if (key == "tun_name") return "--tun-name";
  return key;
}

std::expected<void, std::string> written(const std::string& directory, std::string_view name,
                                         std::string_view text, unsigned mode) {
  const auto done = write_new_file(std::format("{}/{}", directory, name), text, mode);
  if (!done) return std::unexpected(done.error().message());
  return {};
}

std::expected<void, std::string> make_files(const std::string& directory,
                                            const InitOptions& options) {
  TRY(const auto ca, make_ca(std::format("masque-vpn CA of {}", options.name).substr(0, 64)));
  TRY(const auto server, make_server_certificate(ca, {options.name}));
  TRY_VOID(written(directory, "ca.crt", ca.certificate_pem, 0644));
  TRY_VOID(written(directory, "ca.key", ca.key_pem, 0600));
  TRY_VOID(written(directory, "server.crt", server.certificate_pem, 0644));
  TRY_VOID(written(directory, "server.key", server.key_pem, 0600));
  TRY_VOID(written(directory, "server.toml", server_toml(options), 0644));
  const auto store = Store::open(directory + "/state.db", Store::Open::Create);
  if (!store) return std::unexpected(store.error().text);
  KernelRng rng;
  const auto keys = ServerKeys::load_or_create(directory + "/server.keys", rng);
  if (!keys) return std::unexpected(keys.error().message());
  return {};
}

// Each file under its name unless that is taken; what was moved goes away again when one fails.
Result<void, SysError> move_into(const std::string& from, const std::string& to) {
  std::vector<std::string> moved;
  for (const auto name : kFiles) {
    const std::string source = std::format("{}/{}", from, name);
    const std::string target = std::format("{}/{}", to, name);
    if (renameat2(AT_FDCWD, source.c_str(), AT_FDCWD, target.c_str(), RENAME_NOREPLACE) == 0) {
      moved.push_back(target);
      continue;
    }
    auto failed = sys::failure("make " + target);
    for (const auto& path : moved) (void)sys::unlink(path);
    return failed;
  }
  return {};
}

std::string existing_file(const std::string& directory) {
  std::error_code ignored;
  for (const auto name : kFiles) {
    const std::string path = std::format("{}/{}", directory, name);
    if (fs::exists(fs::symlink_status(path, ignored))) return path;
  }
  return {};
}

}  // namespace

int command_init(const CliContext& cli, const InitOptions& options) {
  const std::string directory = absolute_path(options.directory);
  if (const std::string path = existing_file(directory); !path.empty()) {
    return cli.fail(
        kExitFailed,
        std::format("{} exists already and is not overwritten: choose another directory", path));
  }
  std::error_code ignored;
  const bool there = fs::exists(directory, ignored);
  auto temporary = TemporaryDirectory::beside(there ? directory + "/init" : directory);
  if (!temporary) return cli.fail(kExitFailed, temporary.error().message());
  if (const auto made = make_files(temporary->path(), options); !made)
    return cli.fail(kExitFailed, made.error());

  // The same checks as for any configuration, before anything shows up.
  const auto loaded = load_server_config(temporary->path() + "/server.toml");
  for (const auto& fault : loaded.errors) {
    // Pools that nobody gave as routes are told as pools.
    if (fault.key == "advertise_routes" && options.routes.empty()) continue;
    cli.err(std::format("masque-vpn: init: {}: {}\n", option_of(fault.key), fault.text));
  }
  if (!loaded.config) return kExitUsage;
  const auto placed =
      there ? move_into(temporary->path(), directory) : temporary->rename_to(directory);
  if (!placed) return cli.fail(kExitFailed, placed.error().message());

  const int told = cli.answer(std::format("{}/server.toml\n", options.directory));
  if (told != kExitDone) return told;
  cli.err(std::format(
      "Made a CA, a server certificate for {}, the configuration and the database in {}.\n"
      "Next: masque-vpn user add NAME -c {}/server.toml --endpoint ADDR:PORT\n"
      "      masque-vpn server -c {}/server.toml\n",
      options.name, options.directory, options.directory, options.directory));
  return kExitDone;
}

}  // namespace masque
