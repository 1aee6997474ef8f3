// SPDX-License-Identifier: Apache-2.0
#include "core/quic/token_store.h"

#include <algorithm>
#include <utility>

namespace masque {

void TokenStore::keep(const NetworkPath& path, std::string token) {
  if (token.empty()) return;
  if (token.size() > kTokenMax) {
    ++refused_;
    return;
  }
  static_cast<void>(take(path));
  if (entries_.size() == kPathsMax) entries_.erase(entries_.begin());
  entries_.push_back(
      {.local = path.local.address, .remote = path.remote, .token = std::move(token)});
}

std::string TokenStore::take(const NetworkPath& path) {
  const auto found = std::ranges::find_if(entries_, [&](const Entry& entry) {
    return entry.local == path.local.address && entry.remote == path.remote;
  });
  if (found == entries_.end()) return {};
  std::string token = std::move(found->token);
  entries_.erase(found);
  return token;
}

}  // namespace masque
