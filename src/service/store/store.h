// SPDX-License-Identifier: Apache-2.0
// The state database: users with their policy, and leases, in one SQLite file (WAL, mode 0600). It
// holds hashes and fingerprints, never a private key or a usable token. Calls are synchronous and
// may wait for the disk, and up to kBusyTimeout for a lock: they do not belong on the packet path.
// The worker reads users once into a UserDirectory (user_directory.h) and writes leases through
// StoreWriter.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/time.h"
#include "core/ip/address.h"
#include "core/server/policy.h"

namespace masque {

constexpr Duration kStoreBusyTimeout = 5s;
constexpr size_t kUserNameBytesMax = 64;
constexpr size_t kUserPrefixesMax = 256;  // of one kind

struct StoreError {
  enum class Kind : uint8_t {
    Missing,  // no such file
    Foreign,  // not a database of ours
    Newer,    // written by a later version; nothing was changed
    Corrupt,
    Busy,    // locked for longer than kStoreBusyTimeout
    Full,    // no space, or a read-only or failing disk
    Exists,  // the user or the database is there already
    NoSuchUser,
    Conflict,  // a fixed address or subnet belongs to another user
    Failed,
  };
  Kind kind = Kind::Failed;
  std::string text;  // says what and how to mend it
};
template <class T>
using StoreResult = Result<T, StoreError>;

enum class ClientReach : uint8_t { Deny, Allow };  // packets to other clients

struct UserPolicy {
  std::vector<IpPrefix> allowed;    // destinations; empty: all that is advertised to the user
  std::vector<IpPrefix> addresses;  // fixed addresses; empty: from the pool
  std::vector<IpPrefix> routes;     // advertised to this user; empty: the server's advertise_routes
  std::vector<IpPrefix> site_subnets;  // the user may advertise these (site-to-site)
  ClientReach reach_clients = ClientReach::Deny;
  GatewayReach reach_gateway = GatewayReach::Tunnel;
  friend bool operator==(const UserPolicy&, const UserPolicy&) = default;
};

struct User {
  std::string name;
  std::string
      fingerprint;  // of the certificate's key, lower-case hex (pki/certificate.h); may be empty
  std::string token_hash;  // SHA-256 of the bearer token, lower-case hex; may be empty
  int64_t created = 0;     // Unix seconds
  std::optional<int64_t> revoked;
  UserPolicy policy;
};

struct Lease {
  std::string identity;  // the user's name
  IpPrefix prefix;
  int64_t last_seen = 0;  // Unix seconds
  friend bool operator==(const Lease&, const Lease&) = default;
};

// 1..64 of A-Z a-z 0-9 . _ @ -, the first a letter or digit: safe in file names, certificates and
// logs.
bool is_user_name(std::string_view name);

class Store {
 public:
  enum class Open : uint8_t { Existing, Create, CreateOrExisting };
  // Checks the file's integrity and brings an older schema up to date.
  static StoreResult<std::unique_ptr<Store>> open(const std::string& path, Open mode,
                                                  Duration busy_timeout = kStoreBusyTimeout);
  ~Store();
  Store(const Store&) = delete;
  Store& operator=(const Store&) = delete;

  // Exists when the name is taken. A revoked user may be added again: the old key stays refused.
  StoreResult<void> add_user(const User& user);
  StoreResult<void> set_policy(std::string_view name, const UserPolicy& policy);
  StoreResult<void> set_token_hash(std::string_view name, std::string_view token_hash);
  StoreResult<void> revoke_user(std::string_view name, int64_t now);
  StoreResult<User> user(std::string_view name);
  StoreResult<std::vector<User>> users();  // by name

  // Sticky addresses. One prefix has one owner: the last one written.
  StoreResult<std::vector<Lease>> leases();
  // All of it or nothing.
  StoreResult<void> change_leases(const std::vector<Lease>& put,
                                  const std::vector<IpPrefix>& remove);
  StoreResult<void> put_leases(const std::vector<Lease>& leases) {
    return change_leases(leases, {});
  }
  StoreResult<void> remove_lease(const IpPrefix& prefix) { return change_leases({}, {prefix}); }

 private:
  class Connection;
  explicit Store(std::unique_ptr<Connection> connection);
  std::unique_ptr<Connection> connection_;
};

}  // namespace masque
