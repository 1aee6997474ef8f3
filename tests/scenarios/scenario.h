// SPDX-License-Identifier: Apache-2.0
// The table of scenarios. A scenario is a function over a Lab; it runs once for each of its seeds,
// must leave no broken invariant behind, and repeats: the first ten seeds of each (under sanitizers
// the first one) run twice and must give the same trace hash (with null TLS).
//
//   scenarios_test --gtest_filter='*retry_always*'            all its seeds
//   MASQUE_SEED=17 scenarios_test --gtest_filter='*...*'      one seed, any number
//   MASQUE_SEEDS=1000 ...                                     that many seeds
//   MASQUE_TRACE=1 ...                                        prints the trace
#pragma once

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "sim/lab.h"

namespace masque {

enum class Crypto : uint8_t { Null, Real };

struct Scenario {
  std::string name;
  std::string description;
  size_t seeds = 3;
  Crypto crypto = Crypto::Null;
  void (*run)(Lab& lab) = nullptr;
};

// Every scenario of the program, in order of registration.
std::vector<Scenario>& scenario_table();

struct ScenarioRegistration {
  explicit ScenarioRegistration(Scenario scenario) {
    scenario_table().push_back(std::move(scenario));
  }
};

// The tests are generated from the table (scenario_test.cc). A macro, because a name, a function
// and a row in the table must be one thing.
#define SCENARIO_WITH(scenario_name, crypto_mode, seed_count, text)                          \
  static void scenario_name(Lab& lab);                                                       \
  static const ScenarioRegistration registration_of_##scenario_name({.name = #scenario_name, \
                                                                     .description = text,    \
                                                                     .seeds = seed_count,    \
                                                                     .crypto = crypto_mode,  \
                                                                     .run = scenario_name}); \
  static void scenario_name([[maybe_unused]] Lab& lab)
#define SCENARIO(scenario_name, seed_count, text) \
  SCENARIO_WITH(scenario_name, Crypto::Null, seed_count, text)

}  // namespace masque
