// SPDX-License-Identifier: Apache-2.0
// The two long-running commands. Each wires host and core, tells systemd when it is ready, runs in
// the foreground until SIGTERM or SIGINT and returns the program's exit code (service/exit_code.h).
// SIGHUP reads config.file again with load_*_config(); a faulty file leaves the old settings in
// force.
#pragma once

#include "service/config/config.h"

namespace masque {

int run_server(const ServerConfig& config);
int run_client(const ClientConfig& config);

}  // namespace masque
