// SPDX-License-Identifier: Apache-2.0
#include "service/store/store.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <cerrno>
#include <filesystem>
#include <format>

#include "base/mutant.h"
#include "service/files.h"
#include "service/store/sqlite.h"

namespace masque {

namespace {

constexpr int64_t kApplicationId = 0x4d565031;  // "MVP1": tells our files from other SQLite ones
constexpr int64_t kSchemaVersion = 2;

// Version 1. Later versions add steps; a released step never changes.
constexpr const char* kSchema1 = R"sql(
CREATE TABLE users (
  name TEXT PRIMARY KEY,
  fingerprint TEXT UNIQUE,
  token_hash TEXT UNIQUE,
  created INTEGER NOT NULL,
  revoked INTEGER,
  reach_clients INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;
CREATE TABLE user_prefixes (
  user TEXT NOT NULL REFERENCES users(name) ON DELETE CASCADE,
  kind TEXT NOT NULL CHECK (kind IN ('allow', 'address', 'route', 'site')),
  prefix TEXT NOT NULL,
  PRIMARY KEY (user, kind, prefix)
) STRICT, WITHOUT ROWID;
CREATE TABLE leases (
  prefix TEXT PRIMARY KEY,
  identity TEXT NOT NULL,
  last_seen INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX leases_identity ON leases(identity);
)sql";

// Version 2: what a user may reach of the gateway.
constexpr const char* kSchema2 = R"sql(
ALTER TABLE users ADD COLUMN reach_gateway TEXT NOT NULL DEFAULT 'tunnel';
)sql";

constexpr std::array kSteps = {kSchema1, kSchema2};
static_assert(kSteps.size() == kSchemaVersion);

constexpr std::string_view kUserColumns =
    "SELECT name, fingerprint, token_hash, created, revoked, reach_clients, reach_gateway FROM "
    "users";

StoreError corrupt_row(const Database& database, std::string_view what) {
  return {StoreError::Kind::Corrupt,
          std::format("{} is damaged ({}): restore a copy, or move it away and add the users again",
                      database.path(), what)};
}

StoreResult<void> check_integrity(Database& database) {
  auto check = database.prepare("PRAGMA integrity_check(1)");
  TRY(const bool row, check.step());
  const std::string verdict = row ? check.text(0) : "no answer";
  if (verdict != "ok")
    return std::unexpected(corrupt_row(database, verdict.substr(0, verdict.find('\n'))));
  return {};
}

StoreResult<void> configure(Database& database) {
  // FULL: what was answered "done" survives a power cut. Writes are rare, so it costs nothing.
  return database.execute(
      "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON;");
}

// Makes the tables, or brings those of an earlier version up to date.
StoreResult<void> upgrade(Database& database) {
  TRY(auto transaction, Transaction::begin(database));
  // Another process may have been first while this one waited for the lock.
  TRY(const int64_t version, database.number("PRAGMA user_version"));
  if (version >= kSchemaVersion) return {};
  for (auto step = static_cast<size_t>(version); step < kSteps.size(); ++step) {
    TRY_VOID(database.execute(kSteps[step]));
  }
  TRY_VOID(database.execute(std::format("PRAGMA application_id = {}", kApplicationId).c_str()));
  TRY_VOID(database.execute(std::format("PRAGMA user_version = {}", kSchemaVersion).c_str()));
  return transaction.commit();
}

// Ours, of a version we know, and whole; anything else is left untouched.
StoreResult<void> check_schema(Database& database) {
  TRY(const int64_t objects, database.number("SELECT count(*) FROM sqlite_schema"));
  TRY(const int64_t application, database.number("PRAGMA application_id"));
  TRY(const int64_t version, database.number("PRAGMA user_version"));
  if (objects > 0 && application != kApplicationId) {
    return std::unexpected(StoreError{
        StoreError::Kind::Foreign,
        std::format(
            "{} is the database of another program: choose another file with [state] database",
            database.path())});
  }
  if (version > kSchemaVersion) {
    return std::unexpected(StoreError{
        StoreError::Kind::Newer, std::format("{} was written by a newer masque-vpn (schema {}, "
                                             "this one knows {}): install that version "
                                             "again or restore an older copy; nothing was changed",
                                             database.path(), version, kSchemaVersion)});
  }
  return check_integrity(database);
}

StoreResult<std::vector<IpPrefix>> read_prefixes(Database& database, std::string_view user,
                                                 std::string_view kind) {
  auto select = database.prepare(
      "SELECT prefix FROM user_prefixes WHERE user = ? AND kind = ? ORDER BY prefix");
  select.bind(user).bind(kind);
  std::vector<IpPrefix> out;
  while (true) {
    TRY(const bool row, select.step());
    if (!row) break;
    const auto prefix = IpPrefix::parse(select.text(0));
    // A policy that cannot be read whole is not applied in part (faults.md B13).
    if (!prefix)
      return std::unexpected(corrupt_row(database, std::format("policy of user {}", user)));
    out.push_back(*prefix);
  }
  std::ranges::sort(out);
  return out;
}

StoreResult<User> read_user(Database& database, const Statement& row) {
  User user{.name = row.text(0),
            .fingerprint = row.text(1),
            .token_hash = row.text(2),
            .created = row.number(3),
            .revoked = row.is_null(4) ? std::nullopt : std::optional(row.number(4)),
            .policy = {}};
  if (!is_user_name(user.name)) return std::unexpected(corrupt_row(database, "name of a user"));
  user.policy.reach_clients = row.number(5) == 1 ? ClientReach::Allow : ClientReach::Deny;
  const auto reach_gateway = parse_gateway_reach(row.text(6));
  if (!reach_gateway)
    return std::unexpected(corrupt_row(database, std::format("policy of user {}", user.name)));
  user.policy.reach_gateway = *reach_gateway;
  TRY(user.policy.allowed, read_prefixes(database, user.name, "allow"));
  TRY(user.policy.addresses, read_prefixes(database, user.name, "address"));
  TRY(user.policy.routes, read_prefixes(database, user.name, "route"));
  TRY(user.policy.site_subnets, read_prefixes(database, user.name, "site"));
  return user;
}

StoreResult<void> insert_prefixes(Database& database, std::string_view user, std::string_view kind,
                                  const std::vector<IpPrefix>& prefixes) {
  if (prefixes.size() > kUserPrefixesMax) {
    return std::unexpected(
        StoreError{StoreError::Kind::Failed,
                   std::format("a user may have at most {} networks of a kind", kUserPrefixesMax)});
  }
  for (const auto& prefix : prefixes) {
    auto insert = database.prepare("INSERT OR IGNORE INTO user_prefixes VALUES (?, ?, ?)");
    TRY_VOID(insert.bind(user).bind(kind).bind(prefix.to_string()).run());
  }
  return {};
}

// One owner for each fixed address and each site's subnet.
StoreResult<void> check_conflicts(Database& database, std::string_view user,
                                  const UserPolicy& policy) {
  auto select = database.prepare(
      "SELECT p.user, p.prefix FROM user_prefixes p JOIN users u ON u.name = p.user "
      "WHERE p.kind IN ('address', 'site') AND p.user <> ? AND u.revoked IS NULL");
  if (mutant("store.conflict.remove")) return {};
  select.bind(user);
  while (true) {
    TRY(const bool row, select.step());
    if (!row) return {};
    const auto taken = IpPrefix::parse(select.text(1));
    if (!taken) continue;
    for (const auto* list : {&policy.addresses, &policy.site_subnets}) {
      const auto same =
          std::ranges::find_if(*list, [&](const IpPrefix& p) { return p.overlaps(*taken); });
      if (same == list->end()) continue;
      return std::unexpected(
          StoreError{StoreError::Kind::Conflict,
                     std::format("{} overlaps {}, which belongs to user {}", same->to_string(),
                                 taken->to_string(), select.text(0))});
    }
  }
}

StoreResult<void> write_policy(Database& database, std::string_view user,
                               const UserPolicy& policy) {
  TRY_VOID(check_conflicts(database, user, policy));
  TRY_VOID(database.prepare("DELETE FROM user_prefixes WHERE user = ?").bind(user).run());
  auto reach =
      database.prepare("UPDATE users SET reach_clients = ?, reach_gateway = ? WHERE name = ?");
  reach.bind(int64_t{policy.reach_clients == ClientReach::Allow});
  TRY_VOID(reach.bind(to_string(policy.reach_gateway)).bind(user).run());
  TRY_VOID(insert_prefixes(database, user, "allow", policy.allowed));
  TRY_VOID(insert_prefixes(database, user, "address", policy.addresses));
  TRY_VOID(insert_prefixes(database, user, "route", policy.routes));
  return insert_prefixes(database, user, "site", policy.site_subnets);
}

StoreError no_such_user(std::string_view name) {
  return {StoreError::Kind::NoSuchUser,
          std::format("there is no user {}: see `masque-vpn user list`", name)};
}

Statement& bind_or_null(Statement& statement, std::string_view text) {
  return text.empty() ? statement.bind_null() : statement.bind(text);
}

}  // namespace

bool is_user_name(std::string_view name) {
  if (name.empty() || name.size() > kUserNameBytesMax) return false;
  if (std::isalnum(static_cast<unsigned char>(name.front())) == 0) return false;
  return std::ranges::all_of(name, [](unsigned char c) {
    return (c < 0x80 && std::isalnum(c) != 0) || c == '.' || c == '_' || c == '@' || c == '-';
  });
}

class Store::Connection {
 public:
  explicit Connection(std::unique_ptr<Database> opened) : database(std::move(opened)) {}
  std::unique_ptr<Database> database;
};

Store::Store(std::unique_ptr<Connection> connection) : connection_(std::move(connection)) {}
Store::~Store() = default;

StoreResult<std::unique_ptr<Store>> Store::open(const std::string& path, Open mode,
                                                Duration busy_timeout) {
  using Kind = StoreError::Kind;
  if (mode != Open::Existing) {
    // Made by us so that it is never readable by others, not even for a moment; SQLite gives its
    // WAL the same mode.
    const auto made = write_new_file(path, "", mutant("database.mode") ? 0644 : 0600);
    if (!made && made.error().code != EEXIST)
      return std::unexpected(StoreError{Kind::Missing, made.error().message()});
    if (!made && mode == Open::Create)
      return std::unexpected(StoreError{Kind::Exists, path + " exists already"});
  }
  std::error_code ignored;
  if (!std::filesystem::exists(path, ignored)) {
    return std::unexpected(
        StoreError{Kind::Missing, std::format("there is no database {}: `masque-vpn init` or the "
                                              "server makes it",
                                              path)});
  }
  TRY(auto database, Database::open(path, busy_timeout));
  TRY_VOID(check_schema(*database));
  TRY_VOID(configure(*database));
  TRY_VOID(upgrade(*database));
  return std::unique_ptr<Store>(new Store(std::make_unique<Connection>(std::move(database))));
}

StoreResult<void> Store::add_user(const User& user) {
  Database& database = *connection_->database;
  TRY(auto transaction, Transaction::begin(database));
  auto known = database.prepare("SELECT revoked FROM users WHERE name = ?");
  TRY(const bool exists, known.bind(user.name).step());
  if (exists && known.is_null(0) && !mutant("store.name_taken.remove")) {
    return std::unexpected(StoreError{
        StoreError::Kind::Exists,
        std::format("user {} exists already: revoke it first to issue a new key", user.name)});
  }
  TRY_VOID(database.prepare("DELETE FROM users WHERE name = ?").bind(user.name).run());
  auto insert = database.prepare(
      "INSERT INTO users (name, fingerprint, token_hash, created) VALUES (?, ?, ?, ?)");
  insert.bind(user.name);
  bind_or_null(insert, user.fingerprint);
  bind_or_null(insert, user.token_hash);
  TRY_VOID(insert.bind(user.created).run());
  TRY_VOID(write_policy(database, user.name, user.policy));
  return transaction.commit();
}

StoreResult<void> Store::set_policy(std::string_view name, const UserPolicy& policy) {
  Database& database = *connection_->database;
  TRY(auto transaction, Transaction::begin(database));
  TRY_VOID(user(name));
  TRY_VOID(write_policy(database, name, policy));
  return transaction.commit();
}

StoreResult<void> Store::set_token_hash(std::string_view name, std::string_view token_hash) {
  Database& database = *connection_->database;
  TRY(const User known, user(name));
  if (known.revoked && !mutant("store.revoked_token.remove")) {
    return std::unexpected(
        StoreError{StoreError::Kind::NoSuchUser, std::format("user {} is revoked", name)});
  }
  auto update = database.prepare("UPDATE users SET token_hash = ? WHERE name = ?");
  return bind_or_null(update, token_hash).bind(name).run();
}

StoreResult<void> Store::revoke_user(std::string_view name, int64_t now) {
  Database& database = *connection_->database;
  auto update = database.prepare(
      mutant("store.revoke.token")
          ? "UPDATE users SET revoked = coalesce(revoked, ?) WHERE name = ?"
          : "UPDATE users SET revoked = coalesce(revoked, ?), token_hash = NULL WHERE name = ?");
  TRY_VOID(update.bind(now).bind(name).run());
  if (database.changes() == 0) return std::unexpected(no_such_user(name));
  return {};
}

StoreResult<User> Store::user(std::string_view name) {
  Database& database = *connection_->database;
  auto select = database.prepare(std::format("{} WHERE name = ?", kUserColumns));
  TRY(const bool row, select.bind(name).step());
  if (!row) return std::unexpected(no_such_user(name));
  return read_user(database, select);
}

StoreResult<std::vector<User>> Store::users() {
  Database& database = *connection_->database;
  auto select = database.prepare(std::format("{} ORDER BY name", kUserColumns));
  std::vector<User> out;
  while (true) {
    TRY(const bool row, select.step());
    if (!row) return out;
    TRY(auto user, read_user(database, select));
    out.push_back(std::move(user));
  }
}

StoreResult<std::vector<Lease>> Store::leases() {
  Database& database = *connection_->database;
  auto select =
      database.prepare("SELECT identity, prefix, last_seen FROM leases ORDER BY identity, prefix");
  std::vector<Lease> out;
  while (true) {
    TRY(const bool row, select.step());
    if (!row) return out;
    const auto prefix = IpPrefix::parse(select.text(1));
    if (!prefix) return std::unexpected(corrupt_row(database, "a lease"));
    out.push_back({.identity = select.text(0), .prefix = *prefix, .last_seen = select.number(2)});
  }
}

StoreResult<void> Store::change_leases(const std::vector<Lease>& put,
                                       const std::vector<IpPrefix>& remove) {
  Database& database = *connection_->database;
  TRY(auto transaction, Transaction::begin(database));
  for (const auto& prefix : remove) {
    TRY_VOID(
        database.prepare("DELETE FROM leases WHERE prefix = ?").bind(prefix.to_string()).run());
  }
  for (const auto& lease : put) {
    auto insert = database.prepare("INSERT OR REPLACE INTO leases VALUES (?, ?, ?)");
    TRY_VOID(
        insert.bind(lease.prefix.to_string()).bind(lease.identity).bind(lease.last_seen).run());
  }
  return transaction.commit();
}

}  // namespace masque
