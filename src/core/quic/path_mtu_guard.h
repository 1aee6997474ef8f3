// SPDX-License-Identifier: Apache-2.0
// Notices when a path has come to carry less than it did (RFC 8899 5.2, black hole detection),
// which ngtcp2 does not: it searches upwards once on a path and then trusts the result for ever, so
// that a tunnel whose outer path shrinks loses every large packet without a word.
//
//   Trusting --losses of one size, none acknowledged, for a while, or a loss and the probes that
//      |       looked into it--> Searching from 1200 upwards
//      ^                                                                |            |
//      +--------- the whole path limit is acknowledged ----------------+            | a size fails
//      thrice |                                                                             v
//      +-------------------- another path ----------------------------------- Settled, tries again
//      later
//
// Sizes are UDP payloads. Evidence comes from DATAGRAM frames, which are never sent again: each
// carries the size of its packet as its id. Probes are padded datagrams that mean nothing.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>

#include "base/time.h"

namespace masque {

class PathMtuGuard {
 public:
  static constexpr size_t kBase = 1200;        // RFC 9000 14: every path carries it
  static constexpr uint32_t kLossesMax = 6;    // of one size with no acknowledgement between
  static constexpr uint32_t kTriesMax = 3;     // RFC 8899 5.1.2 MAX_PROBES
  static constexpr Duration kRetryFirst = 5s;  // after a search that ended below the path's limit
  static constexpr Duration kRetryMax = 600s;  // RFC 8899 5.1.1 PMTU_RAISE_TIMER

  // What the library believes the path carries, before each packet; a smaller one means another
  // path.
  void on_path_limit(size_t limit);
  bool trusting() const { return state_ == State::Trusting; }
  // The largest packet to be sent now; never above the path limit.
  size_t limit() const { return state_ == State::Trusting ? path_limit_ : confirmed_; }

  // A packet as large was lost, and none has come through since.
  bool suspects(size_t size) const { return suspicion_ && size >= suspicion_->size; }

  void on_acknowledged(size_t size);
  // `pto`: the probe timeout without back-off; losses must span more than one.
  void on_lost(Instant now, size_t size, Duration pto);

  // The size of the probe to be sent now; on_probe_sent when it was. `heard` is when the peer was
  // last heard: a probe has failed only when something came after it.
  std::optional<size_t> probe(Instant now, Duration pto, Instant heard);
  void on_probe_sent(Instant now);
  // When probe() must be asked although nothing is sent: a lone packet's sender waits for it.
  std::optional<Instant> next_timeout(Duration pto, Instant heard) const;

  uint64_t black_holes() const { return black_holes_; }

 private:
  enum class State : uint8_t { Trusting, Searching, Settled };
  // As those of the library's search; packets of up to one of them belong to it.
  static constexpr std::array<uint16_t, 9> kSizes = {1232, 1280, 1314, 1342, 1380,
                                                     1406, 1432, 1452, 1472};
  struct Evidence {
    uint32_t losses = 0;
    Instant since{};
  };
  // A size of which one packet was lost and none acknowledged since.
  struct Suspicion {
    size_t size = 0;
    Instant since{};
  };
  static size_t class_of(size_t size);
  void begin_search();
  size_t next_size() const;
  void settle(Instant now);

  State state_ = State::Trusting;
  size_t path_limit_ = kBase;
  size_t confirmed_ = kBase;
  std::array<Evidence, kSizes.size() + 1> evidence_{};
  std::optional<Suspicion> suspicion_;  // only while trusting
  std::optional<Instant> probe_sent_;
  uint32_t tries_ = 0;
  Instant retry_at_{};
  Duration retry_after_ = kRetryFirst;
  uint64_t black_holes_ = 0;
};

}  // namespace masque
