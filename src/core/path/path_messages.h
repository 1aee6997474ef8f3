// SPDX-License-Identifier: Apache-2.0
// What the two path layers tell one another, sealed in control packets: one message a packet, all
// fields QUIC varints (RFC 9000 16). Counters count from the beginning, so that a lost report costs
// nothing but time.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <variant>

#include "base/bytes.h"
#include "core/path/traffic_class.h"

namespace masque {

// How packets of one direction arrive.
struct PathReport {
  struct PerClass {
    uint64_t settled = 0;      // sources (and repairs) whose fate on the wire is known
    uint64_t lost = 0;         // of these: did not arrive by themselves
    uint64_t loss_events = 0;  // runs of consecutive losses
    uint64_t recovered = 0;    // lost, but brought back in time
    uint64_t abandoned = 0;    // passed over in the order; some may still have come late
    friend bool operator==(const PerClass&, const PerClass&) = default;
  };
  static constexpr uint64_t kClockMax = uint64_t{1} << 50;  // 35 years

  uint64_t number = 0;
  uint64_t received_bytes = 0;  // UDP payloads of sources and repairs, each once
  uint64_t highest = 0;         // sequence after the last source heard of
  uint64_t clock_us = 0;        // the reporter's clock when the newest packet came
  uint32_t echo_stamp = 0;      // stamp of that packet
  uint64_t echo_delay_us = 0;   // how long it waited for this report
  // Arrival minus stamp of the sources since the last report, in PathStamp units modulo 2^20.
  uint32_t delay_min = 0;
  uint32_t delay_max = 0;
  uint64_t congestion_marks = 0;  // ECN CE
  std::array<PerClass, kTrafficClasses> classes{};
  friend bool operator==(const PathReport&, const PathReport&) = default;
};

// Send these sources again: they would still be in time.
struct PathRequest {
  static constexpr size_t kSequencesMax = 32;
  uint64_t number = 0;
  std::array<uint64_t, kSequencesMax> sequences{};  // ascending
  size_t count = 0;
  friend bool operator==(const PathRequest&, const PathRequest&) = default;
};

using PathMessage = std::variant<PathReport, PathRequest>;
constexpr size_t kPathMessageMax = 320;

// Returns how many bytes were written.
size_t write_path_message(const PathMessage& message, MutableBytes out);
// nullopt: not a message of this version.
std::optional<PathMessage> read_path_message(Bytes in);

}  // namespace masque
