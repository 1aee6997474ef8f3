// SPDX-License-Identifier: Apache-2.0
// Where answers go. A full disk behind it is a fault: an answer may be the only copy of a key.
#pragma once

#include <string_view>

#include "base/result.h"

namespace masque {

// All of it, and out of this process.
Result<void, SysError> write_standard_output(std::string_view text);

}  // namespace masque
