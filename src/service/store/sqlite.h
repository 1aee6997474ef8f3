// SPDX-License-Identifier: Apache-2.0
// A SQLite connection and statement with our errors. sqlite3.h stays behind sqlite.cc.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "service/store/store.h"

struct sqlite3;
struct sqlite3_stmt;

namespace masque {

// One run of a prepared statement: bind in order, then step.
class Statement {
 public:
  Statement& bind(std::string_view text);
  Statement& bind(int64_t number);
  Statement& bind_null();

  StoreResult<bool> step();  // true: a row is there
  StoreResult<void> run();   // to the end
  std::string text(int column) const;
  int64_t number(int column) const;
  bool is_null(int column) const;

 private:
  friend class Database;
  struct Finalizer {
    void operator()(sqlite3_stmt* statement) const;
  };
  Statement(const class Database* database, sqlite3_stmt* statement)
      : database_(database), statement_(statement) {}
  const class Database* database_;
  std::unique_ptr<sqlite3_stmt, Finalizer> statement_;
  int next_ = 1;
  int fault_ = 0;  // of a bind or of the preparation; step() tells it
};

class Database {
 public:
  // The file must be there, if only empty: store.cc makes it with the right mode.
  static StoreResult<std::unique_ptr<Database>> open(const std::string& path,
                                                     Duration busy_timeout);
  ~Database();
  Database(const Database&) = delete;
  Database& operator=(const Database&) = delete;

  // A fault in the text itself is ours and asserts.
  Statement prepare(std::string_view sql);
  StoreResult<void> execute(const char* sql);  // several statements without values
  StoreResult<int64_t> number(std::string_view sql);
  int changes() const;  // rows of the last statement
  StoreError error(int code) const;
  const std::string& path() const { return path_; }

 private:
  Database(std::string path, sqlite3* handle) : path_(std::move(path)), handle_(handle) {}
  std::string path_;
  sqlite3* handle_;
};

// BEGIN IMMEDIATE .. commit(); rolls back when it goes out of scope first.
class Transaction {
 public:
  static StoreResult<Transaction> begin(Database& database);
  Transaction(Transaction&& other) noexcept : database_(std::exchange(other.database_, nullptr)) {}
  Transaction& operator=(Transaction&&) = delete;
  ~Transaction();
  StoreResult<void> commit();

 private:
  explicit Transaction(Database& database) : database_(&database) {}
  Database* database_;
};

}  // namespace masque
