// SPDX-License-Identifier: Apache-2.0
#include "service/store/sqlite.h"

#include <sqlite3.h>

#include <format>

#include "base/assert.h"

namespace masque {

void Statement::Finalizer::operator()(sqlite3_stmt* statement) const {
  sqlite3_finalize(statement);
}

Statement& Statement::bind(std::string_view text) {
  const char* data = text.data() == nullptr ? "" : text.data();
  if (fault_ == SQLITE_OK) {
    fault_ = sqlite3_bind_text64(statement_.get(), next_++, data, text.size(), SQLITE_TRANSIENT,
                                 SQLITE_UTF8);
  }
  return *this;
}

Statement& Statement::bind(int64_t number) {
  if (fault_ == SQLITE_OK) fault_ = sqlite3_bind_int64(statement_.get(), next_++, number);
  return *this;
}

Statement& Statement::bind_null() {
  if (fault_ == SQLITE_OK) fault_ = sqlite3_bind_null(statement_.get(), next_++);
  return *this;
}

StoreResult<bool> Statement::step() {
  const int code = fault_ != SQLITE_OK ? fault_ : sqlite3_step(statement_.get());
  if (code == SQLITE_ROW) return true;
  if (code == SQLITE_DONE) return false;
  return std::unexpected(database_->error(code));
}

StoreResult<void> Statement::run() {
  while (true) {
    TRY(const bool row, step());
    if (!row) return {};
  }
}

std::string Statement::text(int column) const {
  const auto* data = reinterpret_cast<const char*>(sqlite3_column_text(statement_.get(), column));
  const int size = sqlite3_column_bytes(statement_.get(), column);
  return data == nullptr ? std::string() : std::string(data, static_cast<size_t>(size));
}

int64_t Statement::number(int column) const {
  return sqlite3_column_int64(statement_.get(), column);
}

bool Statement::is_null(int column) const {
  return sqlite3_column_type(statement_.get(), column) == SQLITE_NULL;
}

StoreResult<std::unique_ptr<Database>> Database::open(const std::string& path,
                                                      Duration busy_timeout) {
  sqlite3* handle = nullptr;
  const int code = sqlite3_open_v2(
      path.c_str(), &handle, SQLITE_OPEN_READWRITE | SQLITE_OPEN_FULLMUTEX | SQLITE_OPEN_EXRESCODE,
      nullptr);
  std::unique_ptr<Database> database(new Database(path, handle));
  if (code != SQLITE_OK) return std::unexpected(database->error(code));
  const auto busy = std::chrono::duration_cast<std::chrono::milliseconds>(busy_timeout);
  sqlite3_busy_timeout(handle, static_cast<int>(busy.count()));
  sqlite3_db_config(handle, SQLITE_DBCONFIG_DEFENSIVE, 1, nullptr);
  // A damaged schema must not run code of its own (application-defined functions in views or
  // triggers).
  sqlite3_db_config(handle, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, nullptr);
  return database;
}

Database::~Database() { sqlite3_close_v2(handle_); }

Statement Database::prepare(std::string_view sql) {
  sqlite3_stmt* statement = nullptr;
  const int code =
      sqlite3_prepare_v2(handle_, sql.data(), static_cast<int>(sql.size()), &statement, nullptr);
  Statement out(this, statement);
  out.fault_ = code;  // a damaged file shows here too, so it is not an assertion
  return out;
}

StoreResult<void> Database::execute(const char* sql) {
  const int code = sqlite3_exec(handle_, sql, nullptr, nullptr, nullptr);
  if (code != SQLITE_OK) return std::unexpected(error(code));
  return {};
}

StoreResult<int64_t> Database::number(std::string_view sql) {
  auto statement = prepare(sql);
  TRY(const bool row, statement.step());
  return row ? statement.number(0) : 0;
}

int Database::changes() const { return sqlite3_changes(handle_); }

StoreError Database::error(int code) const {
  using Kind = StoreError::Kind;
  const std::string reason = handle_ == nullptr ? sqlite3_errstr(code) : sqlite3_errmsg(handle_);
  switch (code & 0xff) {  // the primary code; the rest is detail
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
      return {Kind::Busy, std::format("{} is locked by another program: try again", path_)};
    case SQLITE_FULL:
      return {Kind::Full, std::format("no space left to write {}", path_)};
    case SQLITE_IOERR:
    case SQLITE_READONLY:
      return {Kind::Full, std::format("cannot write {}: {}", path_, reason)};
    case SQLITE_CORRUPT:
      return {Kind::Corrupt,
              std::format("{} is damaged ({}): restore a copy, or move it away and add the users "
                          "again",
                          path_, reason)};
    case SQLITE_NOTADB:
      return {Kind::Foreign, std::format("{} is not a database: is the path right?", path_)};
    case SQLITE_CANTOPEN:
      return {Kind::Missing, std::format("cannot open {}: {}", path_, reason)};
    case SQLITE_CONSTRAINT:
      return {Kind::Exists, reason};
    default:
      return {Kind::Failed, std::format("{}: {}", path_, reason)};
  }
}

StoreResult<Transaction> Transaction::begin(Database& database) {
  TRY_VOID(database.execute("BEGIN IMMEDIATE"));
  return Transaction(database);
}

Transaction::~Transaction() {
  if (database_ != nullptr) (void)database_->execute("ROLLBACK");
}

StoreResult<void> Transaction::commit() {
  TRY_VOID(database_->execute("COMMIT"));
  database_ = nullptr;
  return {};
}

}  // namespace masque
