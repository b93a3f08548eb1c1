#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "base/result.h"

struct sqlite3;
struct sqlite3_stmt;

namespace drupe::imagefs {

/// Prepared statements of one connection that nobody is using, by their SQL: to parse one costs
/// more than to run it.
class KeptStatements {
  public:
    /// One that is the caller's until keep(); null: there is none.
    [[nodiscard]] sqlite3_stmt* take(std::string_view sql);
    void keep(sqlite3_stmt* statement);

  private:
    static constexpr size_t kMost = 64;  ///< SQL is constant but in a few places.
    struct Finalize {
        void operator()(sqlite3_stmt* statement) const;
    };
    std::map<std::string, std::unique_ptr<sqlite3_stmt, Finalize>, std::less<>> by_sql_;
};

/// One prepared SQL statement. Parameters and columns count from 0. Its end resets it, which ends
/// its reading.
class Statement {
  public:
    void bind(int parameter, std::string_view text);
    void bind(int parameter, int64_t value);
    void bind_null(int parameter);
    /// True: a row is there; false: the statement is done.
    [[nodiscard]] Result<bool> step();
    /// For statements without rows.
    [[nodiscard]] Status run();
    /// The same; how many rows it has inserted, changed or deleted.
    [[nodiscard]] Result<int64_t> run_counted();

    [[nodiscard]] std::string text(int column) const;
    [[nodiscard]] int64_t integer(int column) const;
    [[nodiscard]] bool is_null(int column) const;

  private:
    friend class Database;
    struct GiveBack {
        std::shared_ptr<KeptStatements> kept;
        void operator()(sqlite3_stmt* statement) const { kept->keep(statement); }
    };
    Statement(sqlite3_stmt* statement, std::shared_ptr<KeptStatements> kept)
        : statement_(statement, {std::move(kept)}) {}
    std::unique_ptr<sqlite3_stmt, GiveBack> statement_;
};

/// A connection to drupe.db: WAL, foreign keys on, waits up to 10 s for other writers. One thread.
class Database {
  public:
    [[nodiscard]] static Result<Database> open(const std::string& path);

    [[nodiscard]] Result<Statement> prepare(std::string_view sql);
    /// One or more statements without parameters or rows.
    [[nodiscard]] Status execute(const std::string& sql);
    /// Runs work in a write transaction: committed if it succeeds, rolled back if not. Transactions
    /// don't nest.
    [[nodiscard]] Status transaction(const std::function<Status()>& work);
    /// The same, and it and all before it survive a power cut once it has returned.
    [[nodiscard]] Status durable_transaction(const std::function<Status()>& work);

    /// Writes what a long log holds into the database and empties it: a background job's. It has to
    /// be read by the next process that opens the database, and whoever writes into an emptied one
    /// waits for the disk once. Not done, without an error, while others use it.
    void checkpoint();

    /// Brings the tables of `component` up to date: migrations[i] leads from version i to i + 1;
    /// those not yet applied are, in one transaction. kUnsupported: made by a newer Drupe.
    [[nodiscard]] Status migrate(std::string_view component,
                                 std::span<const char* const> migrations);

  private:
    struct Deleter {
        void operator()(sqlite3* database) const;
    };
    [[nodiscard]] Result<int64_t> version_of(std::string_view component);
    /// One statement without parameters or rows, which is kept.
    [[nodiscard]] Status execute_kept(std::string_view sql);
    explicit Database(sqlite3* database) : database_(database) {}
    std::unique_ptr<sqlite3, Deleter> database_;
    std::shared_ptr<KeptStatements> kept_ = std::make_shared<KeptStatements>();
};

}  // namespace drupe::imagefs
