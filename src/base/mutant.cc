// SPDX-License-Identifier: Apache-2.0
#include "base/mutant.h"

#ifdef MASQUE_MUTANTS
#include <cstdlib>

namespace masque {

bool mutant(std::string_view name) {
  static const std::string_view chosen = [] {
    const char* value = std::getenv("MASQUE_MUTANT");
    return value == nullptr ? std::string_view() : std::string_view(value);
  }();
  return name == chosen;
}

}  // namespace masque
#endif
