// SPDX-License-Identifier: Apache-2.0
// The sliding-window random linear code over GF(2^8) of RFC 8681 (FEC Encoding ID 10): any number
// of repair symbols over the last source symbols, at any time; what is lost comes back when as many
// useful repair symbols have arrived as source symbols are missing, wherever they are in the
// window.
//
// All symbols have one size, E. Source symbols have consecutive 32-bit ESIs that wrap. Both sides
// keep their window in one arena that is allocated once; nothing else is allocated but small
// vectors of fixed capacity. A hostile repair symbol can produce a wrong source symbol, never an
// access out of bounds or unbounded work: whoever uses recovered bytes must be able to verify them
// (QUIC's AEAD does).
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "base/bytes.h"

namespace masque {

// RFC 8681 3.6: `count` coefficients from a repair key. Density (dt + 1) / 16; dt 15: all are
// non-zero.
void rlc_coefficients(uint16_t repair_key, uint8_t density_threshold, std::span<uint8_t> out);

// The Repair FEC Payload ID, RFC 8681 4.1.3: Repair_Key(16) | DT(4) | NSS(12) | FSS_ESI(32).
struct RlcRepairId {
  uint16_t repair_key = 0;
  uint8_t density_threshold = 15;
  uint16_t source_count = 0;  // NSS
  uint32_t first_source = 0;  // FSS_ESI

  static constexpr size_t kSize = 8;
  void write(ByteWriter& out) const;
  static Result<RlcRepairId> parse(ByteReader& in);
  friend bool operator==(const RlcRepairId&, const RlcRepairId&) = default;
};

class RlcEncoder {
 public:
  static constexpr size_t kWindowMax = 255;  // of ours; the field would allow 4095

  RlcEncoder(size_t symbol_size, size_t window_max);

  // Adds the next source symbol (shorter than E: zeros follow); the oldest leaves a full window.
  uint32_t add(Bytes symbol);
  // Forgets all but the newest `count` symbols: the receiver has the older ones, or they are too
  // late.
  void keep_newest(size_t count);
  // One repair symbol over the window's newest `count` symbols (0: all) into `out` (E bytes);
  // nullopt while the window is empty. Keys run on by themselves.
  std::optional<RlcRepairId> make_repair(MutableBytes out, size_t count = 0,
                                         uint8_t density_threshold = 15);

  size_t window() const { return used_; }
  size_t symbol_size() const { return symbol_size_; }
  uint32_t next_source() const { return next_; }

 private:
  Bytes symbol(uint32_t esi) const;

  size_t symbol_size_;
  size_t window_max_;
  size_t used_ = 0;
  uint32_t next_ = 0;  // ESI of the next symbol
  uint16_t next_key_ = 1;
  std::unique_ptr<uint8_t[]> arena_;  // ring, slot = ESI modulo window_max_
};

class RlcDecoder {
 public:
  struct Counters {
    uint64_t sources = 0;
    uint64_t repairs = 0;
    uint64_t recovered = 0;
    uint64_t useless = 0;     // repairs that told nothing new
    uint64_t too_old = 0;     // outside the window
    uint64_t over_limit = 0;  // the linear system was full
  };

  // `window_max`: how far back source symbols are kept. `equations_max` bounds memory and work.
  RlcDecoder(size_t symbol_size, size_t window_max, size_t equations_max);

  // Each may recover symbols: poll_recovered() afterwards.
  void add_source(uint32_t esi, Bytes symbol);
  void add_repair(const RlcRepairId& id, Bytes symbol);
  struct Recovered {
    uint32_t esi = 0;
    Bytes symbol;  // valid until the next add
  };
  std::optional<Recovered> poll_recovered();
  bool has(uint32_t esi) const;
  const Counters& counters() const { return counters_; }

 private:
  // One row of the linear system: unknowns `first .. first + coefficients.size()`, its first
  // coefficient 1.
  struct Equation {
    uint32_t first = 0;
    std::vector<uint8_t> coefficients;
    uint8_t* value = nullptr;  // E bytes of the arena
  };

  bool in_window(uint32_t esi) const;
  void advance(uint32_t newest);
  uint8_t* slot(uint32_t esi) const { return sources_.get() + (esi % window_max_) * symbol_size_; }
  void store(uint32_t esi, Bytes symbol);
  void substitute_known(Equation& equation);
  bool reduce(Equation& equation);
  static void normalise(Equation& equation, size_t symbol_size);
  void insert(Equation equation);
  void solve();
  Equation take_free();
  void release(Equation& equation);

  size_t symbol_size_;
  size_t window_max_;
  bool started_ = false;
  uint32_t newest_ = 0;                 // highest ESI heard of
  std::unique_ptr<uint8_t[]> sources_;  // ring by ESI
  std::vector<uint8_t> known_;          // by slot
  std::unique_ptr<uint8_t[]> values_;
  std::vector<Equation> equations_;  // sorted by `first`, distinct: row echelon form
  std::vector<Equation> free_;
  std::vector<uint32_t> recovered_;
  size_t next_recovered_ = 0;
  Counters counters_;
};

}  // namespace masque
