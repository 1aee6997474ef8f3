// SPDX-License-Identifier: Apache-2.0
// The program: the command line with the two long-running commands wired in.
#include "service/cli/cli.h"
#include "service/run.h"

int main(int argc, char** argv) {
  masque::CliHooks hooks = masque::system_hooks();
  hooks.run_server = masque::run_server;
  hooks.run_client = masque::run_client;
  return masque::cli_main(argc, argv, hooks);
}
