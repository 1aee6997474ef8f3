// SPDX-License-Identifier: Apache-2.0
// The command line of masque-linkemu. `--KEY VALUE` sets both directions, `--up-KEY` and
// `--down-KEY` one; the keys are those of sim/link_text.h, with `profile` and `trace` besides.
#pragma once

#include <array>
#include <cstdint>
#include <expected>
#include <memory>
#include <string>
#include <vector>

#include "base/time.h"
#include "sim/link_plan.h"
#include "sim/link_trace.h"

namespace masque::linkemu {

enum class Mode : uint8_t { Bridge, Relay, Profiles, Completion, Man, Help, Version };
enum class Output : uint8_t { Text, Json };
enum class Priority : uint8_t { Ordinary, Realtime };  // Realtime: where it is allowed

struct Settings {
  Mode mode = Mode::Help;
  std::array<std::string, 2> places;  // interfaces, addresses of the relay, or a shell
  std::array<LinkPlan, 2> plans;      // by Direction
  std::array<std::string, 2> profiles{"clean", "clean"};
  std::vector<std::unique_ptr<LinkTrace>> traces;  // that the plans point to
  uint64_t seed = 1;
  Duration run_for{};
  Duration interval{};  // zero: live counters only on a terminal
  std::string stats_file;
  Output output = Output::Text;
  Priority priority = Priority::Realtime;
  Duration precision = 50us;
  size_t packets_max = 65'536;
  size_t flows_max = 1'024;
};

// The error is a whole sentence, without an end of line.
std::expected<Settings, std::string> parse_arguments(int argc, char** argv);

}  // namespace masque::linkemu
