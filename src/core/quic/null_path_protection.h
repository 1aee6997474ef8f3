// SPDX-License-Identifier: Apache-2.0
// The path layer's cryptography without cryptography, for the simulator and the fuzzers: sums that
// find every accident and stop nobody.
#pragma once

#include <memory>

#include "core/path/path_protection.h"

namespace masque {

std::unique_ptr<PathProtection> make_null_path_protection(Bytes secret);

}  // namespace masque
