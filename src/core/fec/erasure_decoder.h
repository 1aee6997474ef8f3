// SPDX-License-Identifier: Apache-2.0
// The receiver's side of the erasure codes. It keeps the newest source symbols and, as they came,
// the repair symbols whose window has something missing. No symbol is touched until the counts say
// that some set of equations determines its unknowns; then the coefficients alone are solved, and
// each lost symbol is computed in one pass over what it depends on. So a repair nobody needs costs
// a look at its window (and a copy while sources are still on their way), and sources that come
// late cost a counter.
//
// What the peer sends is not trusted: any id and any symbol change counters and what is recovered,
// nothing else. Who uses recovered bytes must be able to verify them (QUIC's AEAD does). Bounds:
//   memory  window_max (rounded up to a power of two) + equations_max symbols, one matrix of
//           equations_max x (kColumnsMax + equations_max) bytes, allocated at the first add;
//   work    per call kMatrixWorkPerCall byte operations on the matrix in the long run (what is not
//           used is saved up to the cost of one full matrix), and for each recovered symbol one
//           pass over at most window_max + equations_max symbols. Every recovered symbol uses up a
//           repair symbol, so the long run costs at most that much for each repair received.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>

#include "base/bytes.h"
#include "core/fec/erasure_code.h"

namespace masque {

class ErasureDecoder {
 public:
  static constexpr size_t kSymbolSizeMax = 65535;
  static constexpr size_t kWindowLimit = 1 << 16;
  static constexpr size_t kEquationsLimit = 1 << 10;
  static constexpr size_t kColumnsMax = 512;  // unknowns solved for at once
  static constexpr size_t kMatrixWorkPerCall = 1 << 16;

  struct Counters {
    uint64_t sources = 0;
    uint64_t duplicates = 0;  // sources known already, recovered ones included
    uint64_t too_old = 0;     // sources and repairs behind the window
    uint64_t too_new = 0;     // repairs further ahead than the window is long
    uint64_t oversized = 0;   // longer than symbol_size_max, or an empty repair
    uint64_t repairs = 0;
    uint64_t invalid = 0;   // repairs whose id breaks a limit
    uint64_t unneeded = 0;  // repairs with nothing missing, at once or later
    uint64_t useless = 0;   // repairs that said nothing new about what is missing
    uint64_t given_up = 0;  // repairs with an unknown that was forgotten or has left the window
    uint64_t evicted = 0;   // repairs that made room for newer ones
    uint64_t recovered = 0;
    uint64_t postponed = 0;  // solutions put off because the work of this call was used up
  };

  // window_max: how many ESIs back sources are kept (255..65536); equations_max: repairs (1..1024).
  ErasureDecoder(size_t symbol_size_max, size_t window_max, size_t equations_max);
  ErasureDecoder(ErasureDecoder&&) noexcept;
  ErasureDecoder& operator=(ErasureDecoder&&) noexcept;
  ~ErasureDecoder();

  // The symbol is head|body. Either call may recover symbols: poll_recovered() until it is empty.
  void add_source(uint32_t esi, Bytes head, Bytes body);
  void add_repair(const RepairId& id, Bytes symbol);

  struct Recovered {
    uint32_t esi = 0;
    // As long as the shortest repair symbol it was computed from: zeros may follow the symbol sent.
    Bytes symbol;
  };
  std::optional<Recovered> poll_recovered();  // valid until the next add

  bool has(uint32_t esi) const;
  // Nobody waits for what is missing before `esi` any more: the equations with such unknowns go,
  // and no new ones are taken. Does nothing when it is behind an earlier one.
  void forget_before(uint32_t esi);

  size_t equations() const;  // repairs waiting for more
  const Counters& counters() const { return counters_; }

 private:
  struct State;  // the arenas

  size_t symbol_size_max_;
  size_t window_max_;
  size_t equations_max_;
  std::unique_ptr<State> state_;
  Counters counters_;
};

}  // namespace masque
