// SPDX-License-Identifier: Apache-2.0
// The command line: cli_main() parses, does the short commands itself and hands the long-running
// ones to the hooks. What a command answers goes to `out`, what it says about its work to `err`.
// The exit codes are those of service/exit_code.h.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "base/result.h"
#include "base/time.h"
#include "service/config/config.h"
#include "service/watch/watch_screen.h"

namespace masque {

struct CliHooks {
  std::function<int(const ServerConfig&)> run_server;
  std::function<int(const ClientConfig&)> run_client;
  std::function<Result<void, SysError>(std::string_view)> out;
  std::function<void(std::string_view)> err;
  // One request line to a control socket, one reply line back: host/control_socket.h's
  // control_call.
  std::function<Result<std::string, SysError>(const std::string& socket, std::string_view line,
                                              Duration timeout)>
      control;
  // Whether the instance at this socket lives in the caller's network namespace.
  std::function<bool(const std::string& socket)> shares_network;
  std::function<std::unique_ptr<WatchScreen>(WatchOutput)> watch_screen;
};

// Writes to stdout and stderr and talks to real sockets; the two run hooks are the caller's.
CliHooks system_hooks();

int cli_main(int argc, const char* const* argv, const CliHooks& hooks);

}  // namespace masque
