// SPDX-License-Identifier: Apache-2.0
#include "service/start_error.h"

#include <cerrno>

#include "host/privileges.h"
#include "service/exit_code.h"

namespace masque {

std::unexpected<StartError> start_failed(int exit_code, std::string text) {
  return std::unexpected(StartError{.exit_code = exit_code, .text = std::move(text)});
}

std::unexpected<StartError> start_failed(const SysError& error) {
  const bool refused = error.code == EPERM || error.code == EACCES;
  return start_failed(refused ? kExitRefused : kExitFailed, explain(error));
}

}  // namespace masque
