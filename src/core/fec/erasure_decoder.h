// SPDX-License-Identifier: Apache-2.0
// The receiver's side of the erasure codes. It keeps the newest source symbols and, as they came,
// the repair symbols whose window has something missing. No symbol is touched until the counts say
// that some set of equations determines its unknowns; then the coefficients alone are solved, and
// each lost symbol is computed in one pass over what it depends on. So a repair that nobody needs
// costs a look at its window (and a copy while sources are still on their way), and a source that
// comes late costs a counter.
//
// What the peer sends is not trusted: any id and any symbol change counters and what is recovered,
// nothing else. Who uses recovered bytes must be able to verify them (QUIC's AEAD does). Bounds,
// with W = window_max rounded up to a power of two, E = equations_max, S = symbol_size_max:
//   memory  (W + E) * S + E * (255 + 2 * E) bytes and small tables, allocated at the first add;
//   work    a source or a repair: O(W + E) steps; kMatrixWorkPerCall byte operations on the matrix
//           in the long run (what is not used is saved up for the largest matrix, E x 2E);
//           each recovered symbol: E * 255 byte operations on coefficients at most and one pass
//           over at most W + E symbols. Every recovered symbol uses up one repair.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "base/bytes.h"
#include "core/fec/erasure_code.h"
#include "core/fec/erasure_solver.h"
#include "core/fec/symbol_ring.h"

namespace masque {

class ErasureDecoder {
 public:
  static constexpr size_t kSymbolSizeMax = SymbolRing::kSymbolSizeMax;
  static constexpr size_t kWindowLimit = 8192;
  static constexpr size_t kEquationsLimit = 256;
  static constexpr size_t kMatrixWorkPerCall = size_t{1} << 16;
  static constexpr size_t kWorkPerCandidate = 64;  // to look for a set, in the same unit

  struct Counters {
    uint64_t sources = 0;
    uint64_t duplicates = 0;  // sources known already, recovered ones included
    uint64_t too_old = 0;     // sources and repairs behind the window
    uint64_t too_new = 0;     // repairs further ahead than the window is long
    uint64_t bad_size = 0;    // empty repairs, symbols longer than symbol_size_max
    uint64_t repairs = 0;
    uint64_t invalid = 0;    // repairs whose id breaks a limit
    uint64_t unneeded = 0;   // repairs with nothing missing, at once or later
    uint64_t useless = 0;    // repairs that say nothing new about what is missing
    uint64_t given_up = 0;   // repairs with an unknown that was forgotten or has left the window
    uint64_t evicted = 0;    // repairs that made room for newer ones
    uint64_t postponed = 0;  // systems not solved yet because the matrix work was used up
    uint64_t used = 0;       // repairs whose last unknowns were recovered
    uint64_t recovered = 0;
  };

  // window_max: how many symbols are kept, 255..8192; equations_max: repairs that wait, 1..256.
  ErasureDecoder(size_t symbol_size_max, size_t window_max, size_t equations_max);

  // The symbol is head|body. Either call may recover symbols: poll_recovered() until it is empty.
  void add_source(uint32_t esi, Bytes head, Bytes body);
  void add_repair(const RepairId& id, Bytes symbol);

  struct Recovered {
    uint32_t esi = 0;
    // As long as the shortest repair symbol that covers it: zeros may follow the symbol sent.
    Bytes symbol;
  };
  std::optional<Recovered> poll_recovered();  // valid until the next add

  // Sources from `esi` on may still be on their way: repairs whose window reaches beyond it wait
  // and cost nothing, so that what is only late is not computed. Without a call, none wait. Call it
  // as sources arrive, with the newest ESI + 1 less the reordering seen. May recover, as an add.
  void expect_from(uint32_t esi);

  bool has(uint32_t esi) const { return !tags_.empty() && tags_[slot(esi)] == esi; }
  // Nobody waits any more for what is missing before `esi`: equations with such an unknown go, and
  // no new ones are taken. Never moves back.
  void forget_before(uint32_t esi);

  size_t equations() const { return equations_.size(); }  // repairs that wait
  const Counters& counters() const { return counters_; }

 private:
  struct Equation {
    RepairId id;
    uint16_t missing = 0;  // unknowns in its window, once it is ready
    uint16_t place = 0;    // of its symbol and coefficients
    bool has_coefficients = false;
    bool gone = false;  // to be removed by the next sweep()
  };
  enum class Progress : uint8_t { None, Some };

  size_t slot(uint32_t esi) const { return esi & (sources_.slots() - 1); }
  int32_t slots_signed() const { return static_cast<int32_t>(sources_.slots()); }
  void begin_call();
  void allocate_sources();
  void allocate_equations();
  bool behind_window(uint32_t esi) const;
  size_t count_missing(uint32_t first, uint32_t end) const;
  void know(uint32_t esi, uint64_t& counter);
  void move_window(uint32_t newest);
  size_t sweep(uint64_t& counter);
  bool ready(const Equation& equation) const;
  size_t ready_equations() const;
  bool admits(const RepairId& id);
  void keep(const RepairId& id, Bytes symbol, size_t missing);

  // erasure_decoder_solve.cc
  void solve();
  void choose_candidates();
  void count_unknowns();
  int unknowns_before(uint32_t esi) const { return missing_before_[esi - start_]; }
  Progress try_candidates();
  bool choose_set(size_t j);
  Progress solve_chosen();
  void eliminate();
  void compute(uint32_t esi, Bytes factors);
  Bytes coefficients(Equation& equation);
  const Equation& candidate(size_t i) const { return equations_[candidates_[i]]; }

  size_t symbol_size_max_;
  size_t equations_max_;
  bool started_ = false;                        // newest_ is set
  bool source_seen_ = false;                    // by a source, not by the first repair
  uint32_t newest_ = 0;                         // newest ESI known
  std::optional<uint32_t> floor_;               // forget_before()
  std::optional<uint32_t> expected_;            // expect_from()
  SymbolRing sources_;                          // by ESI
  std::vector<uint32_t> tags_;                  // by slot: the ESI that is known there
  SymbolRing values_;                           // repair symbols, by Equation::place
  std::vector<uint8_t> equation_coefficients_;  // kRepairSourcesMax for each place
  RepairCoefficients coefficients_;
  std::vector<uint16_t> free_places_;
  std::vector<Equation> equations_;  // by end of their windows
  std::optional<ErasureSolver> solver_;

  bool touched_ = false;  // a ready equation came or lost an unknown
  size_t quiet_ = 0;      // at least so many of these until something can be solved
  size_t matrix_work_ = 0;
  // Scratch of the solving functions, allocated once.
  std::vector<uint16_t> candidates_;      // indices of equations_, by end
  std::vector<uint16_t> by_first_;        // positions in candidates_, the last to begin first
  std::vector<uint16_t> chosen_;          // indices of equations_
  uint32_t start_ = 0;                    // where the first candidate's window begins
  std::vector<uint16_t> missing_before_;  // by ESI from there on
  std::vector<uint32_t> unknowns_;
  std::vector<uint8_t> row_;
  std::vector<uint8_t> weights_;
  std::vector<gf256::Term> terms_;

  std::vector<uint32_t> recovered_;
  size_t next_recovered_ = 0;
  Counters counters_;
};

}  // namespace masque
