// SPDX-License-Identifier: Apache-2.0
// Why a service could not start or had to end: the last line it says, and the exit code.
#pragma once

#include <expected>
#include <string>

#include "base/result.h"
#include "service/store/store.h"

namespace masque {

struct StartError {
  int exit_code = 1;
  std::string text;
};

std::unexpected<StartError> start_failed(int exit_code, std::string text);
// EPERM and EACCES are refusals (77), everything else a failure.
std::unexpected<StartError> start_failed(const SysError& error);
std::unexpected<StartError> start_failed(const StoreError& error);
std::unexpected<StartError> start_failed(const ConfigError& error);  // 78

// 75: locked or no room; 78: a file that is not, or no longer, a database of this version.
int exit_code_of(const StoreError& error);

}  // namespace masque
