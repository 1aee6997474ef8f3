// SPDX-License-Identifier: Apache-2.0
// For tests of commands: the command line over a directory that goes away, with instances of the
// test's that answer.
#pragma once

#include <gtest/gtest.h>

#include <cerrno>
#include <cstdlib>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "service/cli/cli.h"
#include "service/exit_code.h"
#include "service/testing/temporary.h"

namespace masque::testing {

class CliFixture : public ::testing::Test {
 protected:
  CliFixture() {
    setenv("MASQUE_VPN_RUNTIME_DIR", dir.file("run").c_str(), 1);
    hooks.out = [this](std::string_view text) -> Result<void, SysError> {
      if (out_error != 0)
        return std::unexpected(
            SysError{.code = out_error, .operation = "write to standard output"});
      out += text;
      return {};
    };
    hooks.err = [this](std::string_view text) { err += text; };
    hooks.run_server = [this](const ServerConfig& config) {
      ran = config.file;
      return 0;
    };
    hooks.run_client = [this](const ClientConfig& config) {
      ran = config.file;
      return kExitRefused;
    };
    hooks.control = [this](const std::string& socket, std::string_view line,
                           Duration) -> Result<std::string, SysError> {
      asked.emplace_back(socket, line);
      const auto found = instances.find(socket);
      if (found == instances.end())
        return std::unexpected(SysError{.code = ENOENT, .operation = "connect " + socket});
      return found->second;
    };
    hooks.shares_network = [this](const std::string& socket) { return in_this_network == socket; };
  }
  void TearDown() override { unsetenv("MASQUE_VPN_RUNTIME_DIR"); }

  int run(std::vector<std::string> arguments) {
    out.clear();
    err.clear();
    arguments.insert(arguments.begin(), "masque-vpn");
    std::vector<const char*> argv;
    argv.reserve(arguments.size());
    for (const auto& argument : arguments) argv.push_back(argument.c_str());
    return cli_main(static_cast<int>(argv.size()), argv.data(), hooks);
  }
  int init(std::vector<std::string> more = {}) {
    std::vector<std::string> arguments = {"init",   dir.file("gw"), "--listen", "192.0.2.1:4433",
                                          "--name", "vpn.example",  "--pool",   "10.8.0.0/24",
                                          "--pool", "fd00:8::/64"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return run(arguments);
  }
  std::string toml() { return dir.file("gw/server.toml"); }
  int add(const std::string& name) {
    return run({"user", "add", name, "-c", toml(), "-o", dir.file(name + ".toml")});
  }

  Temporary dir;
  CliHooks hooks;
  std::string out, err, ran;
  int out_error = 0;  // of writing to `out`
  std::vector<std::pair<std::string, std::string>> asked;
  std::map<std::string, std::string> instances;  // socket -> reply
  std::string in_this_network;                   // a socket
};

}  // namespace masque::testing
