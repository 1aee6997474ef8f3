// SPDX-License-Identifier: Apache-2.0
#include "service/start_error.h"

#include <cerrno>
#include <utility>

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

std::unexpected<StartError> start_failed(const StoreError& error) {
  return start_failed(exit_code_of(error), error.text);
}

std::unexpected<StartError> start_failed(const ConfigError& error) {
  return start_failed(kExitConfiguration, error.message());
}

int exit_code_of(const StoreError& error) {
  using Kind = StoreError::Kind;
  switch (error.kind) {
    case Kind::Busy:
    case Kind::Full:
      return kExitLater;
    case Kind::Foreign:
    case Kind::Newer:
    case Kind::Corrupt:
      return kExitConfiguration;
    case Kind::Missing:
    case Kind::Exists:
    case Kind::NoSuchUser:
    case Kind::Conflict:
    case Kind::Failed:
      return kExitFailed;
  }
  std::unreachable();
}

}  // namespace masque
