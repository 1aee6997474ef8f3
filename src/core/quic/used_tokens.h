// SPDX-License-Identifier: Apache-2.0
// Which tokens of NEW_TOKEN have been used: each proves an address once (RFC 9000 8.1.4). Two
// generations, the older of which is forgotten when the newer is full or as old as a token may
// become; so a token is known at least until it expires, unless kGenerationMax others were used
// after it. The list lives as long as the process.
#pragma once

#include <cstdint>
#include <unordered_set>

#include "base/bytes.h"
#include "base/time.h"

namespace masque {

class UsedTokens {
 public:
  static constexpr size_t kGenerationMax = 16'384;  // two of them: about a megabyte
  static constexpr size_t kTokenMin = 8;

  explicit UsedTokens(Duration token_life) : token_life_(token_life) {}

  // `token`: a genuine one, at least kTokenMin long; its end is random (ngtcp2) and names it.
  bool contains(Bytes token) const;
  void add(Instant now, Bytes token);

  size_t size() const { return newer_.size() + older_.size(); }

 private:
  Duration token_life_;
  Instant newer_since_{};
  std::unordered_set<uint64_t> newer_, older_;
};

}  // namespace masque
