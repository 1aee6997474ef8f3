// SPDX-License-Identifier: Apache-2.0
// All users at one instant, in memory: what admission and policy look at, so that neither waits for
// the disk. Immutable: made anew and swapped whole when the database changes (control:
// user.changed, user.revoke, reload). When it cannot be read the server keeps the old one.
#pragma once

#include <cstddef>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "service/store/store.h"

namespace masque {

class UserDirectory {
 public:
  UserDirectory() = default;  // nobody
  explicit UserDirectory(std::vector<User> users);
  static StoreResult<UserDirectory> read(Store& store);

  enum class Verdict : uint8_t {
    Admitted,
    Unknown,  // nobody of that name, key or token
    Revoked,
    OtherKey,  // the name is known with another key: an old certificate of a user who got a new one
  };
  struct Admission {
    Verdict verdict = Verdict::Unknown;
    const User* user = nullptr;  // lives as long as the directory
  };
  // A verified client certificate: the name it carries and its key's fingerprint.
  Admission by_certificate(std::string_view name, std::string_view fingerprint) const;
  Admission by_token(std::string_view token) const;
  const User* find(std::string_view name) const;
  const std::vector<User>& all() const { return users_; }

 private:
  std::vector<User> users_;
  std::map<std::string, size_t, std::less<>> by_name_;
  std::map<std::string, size_t, std::less<>> by_fingerprint_;
  std::map<std::string, size_t, std::less<>> by_token_hash_;
};

}  // namespace masque
