// SPDX-License-Identifier: Apache-2.0
#include "core/quic/used_tokens.h"

#include <cstring>
#include <utility>

namespace masque {

namespace {

uint64_t name_of(Bytes token) {
  uint64_t name = 0;
  std::memcpy(&name, token.last(UsedTokens::kTokenMin).data(), sizeof(name));
  return name;
}

}  // namespace

bool UsedTokens::contains(Bytes token) const {
  const uint64_t name = name_of(token);
  return newer_.contains(name) || older_.contains(name);
}

void UsedTokens::add(Instant now, Bytes token) {
  if (newer_.size() >= kGenerationMax || now - newer_since_ >= token_life_) {
    older_ = std::exchange(newer_, {});
    newer_since_ = now;
  }
  newer_.insert(name_of(token));
}

}  // namespace masque
