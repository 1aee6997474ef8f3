// SPDX-License-Identifier: Apache-2.0
#include "service/store/user_directory.h"

#include "base/mutant.h"
#include "service/pki/certificate.h"

namespace masque {

UserDirectory::UserDirectory(std::vector<User> users) : users_(std::move(users)) {
  for (size_t i = 0; i < users_.size(); ++i) {
    by_name_.emplace(users_[i].name, i);
    if (!users_[i].fingerprint.empty()) by_fingerprint_.emplace(users_[i].fingerprint, i);
    if (!users_[i].token_hash.empty()) by_token_hash_.emplace(users_[i].token_hash, i);
  }
}

StoreResult<UserDirectory> UserDirectory::read(Store& store) {
  TRY(auto users, store.users());
  return UserDirectory(std::move(users));
}

UserDirectory::Admission UserDirectory::by_certificate(std::string_view name,
                                                       std::string_view fingerprint) const {
  const auto known_key = by_fingerprint_.find(fingerprint);
  const auto known_name = by_name_.find(name);
  if (known_name == by_name_.end()) {
    // A known key under another name is not a way around revocation.
    if (known_key == by_fingerprint_.end()) return {};
    return {.verdict = Verdict::OtherKey, .user = &users_[known_key->second]};
  }
  const User& user = users_[known_name->second];
  if (user.revoked && !mutant("directory.revoked.remove"))
    return {.verdict = Verdict::Revoked, .user = &user};
  // A user of a token alone has no certificate at all.
  if ((user.fingerprint.empty() || user.fingerprint != fingerprint) &&
      !mutant("directory.other_key.remove"))
    return {.verdict = Verdict::OtherKey, .user = &user};
  return {.verdict = Verdict::Admitted, .user = &user};
}

UserDirectory::Admission UserDirectory::by_token(std::string_view token) const {
  if (token.empty()) return {};
  // The look-up is by the hash, so its time says nothing about the token.
  const auto found = by_token_hash_.find(sha256_hex(token));
  if (found == by_token_hash_.end()) return {};
  const User& user = users_[found->second];
  return {.verdict = user.revoked ? Verdict::Revoked : Verdict::Admitted, .user = &user};
}

const User* UserDirectory::find(std::string_view name) const {
  const auto found = by_name_.find(name);
  return found == by_name_.end() ? nullptr : &users_[found->second];
}

}  // namespace masque
