// SPDX-License-Identifier: Apache-2.0
// Faults on purpose: each switch breaks one check on which security rests, and tests/mutants
// demands that some test notices. A build for that (MASQUE_MUTANTS, the dev preset) switches on the
// one that the environment variable MASQUE_MUTANT names; in every other build mutant() is false,
// and nothing of it is left in the program. tests/mutants/mutants.toml lists all of them, and a
// test compares.
#pragma once

#include <string_view>

namespace masque {

#ifdef MASQUE_MUTANTS
bool mutant(std::string_view name);
#else
constexpr bool mutant(std::string_view) { return false; }
#endif

}  // namespace masque
