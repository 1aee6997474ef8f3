// SPDX-License-Identifier: Apache-2.0
#include "service/standard_output.h"

#include <cstdio>

#include "host/system.h"

namespace masque {

Result<void, SysError> write_standard_output(std::string_view text) {
  if (fwrite(text.data(), 1, text.size(), stdout) == text.size() && fflush(stdout) == 0) return {};
  return sys::failure("write to standard output");
}

}  // namespace masque
