#include "imagefs/store/database.h"

#include <fmt/core.h>
#include <sqlite3.h>
#include <sys/stat.h>

#include <cerrno>
#include <utility>

#include "base/check.h"
#include "imagefs/store/store_files.h"

namespace drupe::imagefs {
namespace {

constexpr int kBusyTimeoutMs = 10'000;
constexpr off_t kLongLogBytes = 256 << 10;

Error sql_error(sqlite3* database, std::string_view what) {
    const int code = sqlite3_errcode(database);
    ErrorCode kind = ErrorCode::kIo;
    if (code == SQLITE_CONSTRAINT) kind = ErrorCode::kConflict;
    if (code == SQLITE_BUSY) kind = ErrorCode::kLimit;  // of time: to be tried again
    if (code == SQLITE_CORRUPT || code == SQLITE_NOTADB) kind = ErrorCode::kCorrupt;
    return Error{kind, fmt::format("{}: {}", what, sqlite3_errmsg(database))};
}

}  // namespace

void KeptStatements::Finalize::operator()(sqlite3_stmt* statement) const {
    sqlite3_finalize(statement);
}

sqlite3_stmt* KeptStatements::take(std::string_view sql) {
    const auto found = by_sql_.find(sql);
    if (found == by_sql_.end()) return nullptr;
    sqlite3_stmt* const statement = found->second.release();
    by_sql_.erase(found);
    return statement;
}

void KeptStatements::keep(sqlite3_stmt* statement) {
    std::unique_ptr<sqlite3_stmt, Finalize> idle(statement);
    sqlite3_reset(statement);  // repeats the error of the last step, which was reported
    sqlite3_clear_bindings(statement);
    if (by_sql_.size() >= kMost) by_sql_.clear();
    // Two of the same text were in use at a time: one is enough.
    by_sql_.try_emplace(sqlite3_sql(statement), std::move(idle));
}

void Statement::bind(int parameter, std::string_view text) {
    DRUPE_CHECK(sqlite3_bind_text64(statement_.get(), parameter + 1, text.data(), text.size(),
                                    SQLITE_TRANSIENT, SQLITE_UTF8) == SQLITE_OK);
}
void Statement::bind(int parameter, int64_t value) {
    DRUPE_CHECK(sqlite3_bind_int64(statement_.get(), parameter + 1, value) == SQLITE_OK);
}
void Statement::bind_null(int parameter) {
    DRUPE_CHECK(sqlite3_bind_null(statement_.get(), parameter + 1) == SQLITE_OK);
}

Result<bool> Statement::step() {
    const int code = sqlite3_step(statement_.get());
    if (code == SQLITE_ROW) return true;
    if (code == SQLITE_DONE) return false;
    return sql_error(sqlite3_db_handle(statement_.get()), sqlite3_sql(statement_.get()));
}

Status Statement::run() {
    at_step("run", "drupe.db");
    TRY_ASSIGN(const bool row, step());
    DRUPE_CHECK(!row);
    return ok();
}

Result<int64_t> Statement::run_counted() {
    TRY(run());
    return sqlite3_changes64(sqlite3_db_handle(statement_.get()));
}

std::string Statement::text(int column) const {
    const void* bytes = sqlite3_column_blob(statement_.get(), column);
    const int size = sqlite3_column_bytes(statement_.get(), column);
    return bytes == nullptr
               ? std::string()
               : std::string(static_cast<const char*>(bytes), static_cast<size_t>(size));
}
int64_t Statement::integer(int column) const {
    return sqlite3_column_int64(statement_.get(), column);
}
bool Statement::is_null(int column) const {
    return sqlite3_column_type(statement_.get(), column) == SQLITE_NULL;
}

namespace {

/// Its owner's alone: who can read a database can also keep it locked. Never opened here: closing a
/// descriptor of it would end this process's locks on it. SQLite gives its other files the same
/// mode.
Status make_private(const std::string& path) {
    constexpr mode_t kMode = 0600;
    if (::mknod(path.c_str(), S_IFREG | kMode, 0) < 0 && errno != EEXIST) {
        return os_error("create " + path);
    }
    for (const char* suffix : {"", "-wal", "-shm"}) {
        if (::chmod((path + suffix).c_str(), kMode) < 0 && errno != ENOENT) {
            return os_error("chmod " + path + suffix);
        }
    }
    return ok();
}

}  // namespace

void Database::Deleter::operator()(sqlite3* database) const {
    sqlite3_close_v2(database);
}

Result<Database> Database::open(const std::string& path) {
    TRY(make_private(path));
    sqlite3* raw = nullptr;
    const int code =
        sqlite3_open_v2(path.c_str(), &raw, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, nullptr);
    Database database(raw);
    if (code != SQLITE_OK) return sql_error(raw, "open " + path);
    sqlite3_busy_timeout(raw, kBusyTimeoutMs);
    // NORMAL: a power cut may take the last transactions back, never tear them. What they name is
    // imported or created again; no start of a container waits for an fsync of the database.
    TRY(
        database.execute("PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL;"
                         "PRAGMA foreign_keys = ON"));
    return database;
}

Result<Statement> Database::prepare(std::string_view sql) {
    sqlite3_stmt* raw = kept_->take(sql);
    if (raw == nullptr &&
        sqlite3_prepare_v3(database_.get(), sql.data(), static_cast<int>(sql.size()),
                           SQLITE_PREPARE_PERSISTENT, &raw, nullptr) != SQLITE_OK) {
        return sql_error(database_.get(), sql);
    }
    return Statement(raw, kept_);
}

Status Database::execute_kept(std::string_view sql) {
    TRY_ASSIGN(Statement statement, prepare(sql));
    TRY(statement.step());
    return ok();
}

Status Database::execute(const std::string& sql) {
    if (sqlite3_exec(database_.get(), sql.c_str(), nullptr, nullptr, nullptr) != SQLITE_OK) {
        return sql_error(database_.get(), sql);
    }
    return ok();
}

Status Database::transaction(const std::function<Status()>& work) {
    // IMMEDIATE: waits for the other writer now, where waiting is possible, and not in the middle.
    TRY(execute_kept("BEGIN IMMEDIATE"));
    Status done = work();
    if (done) {
        at_step("commit", "drupe.db");
        done = execute_kept("COMMIT");
    }
    // The first error is the one to report; a failed rollback leaves nothing to do.
    if (!done && sqlite3_get_autocommit(database_.get()) == 0) (void)execute("ROLLBACK");
    return done;
}

Status Database::durable_transaction(const std::function<Status()>& work) {
    TRY(execute("PRAGMA synchronous = FULL"));
    Status done = transaction(work);
    if (done) at_step("synced", "drupe.db");
    (void)execute("PRAGMA synchronous = NORMAL");  // it can't fail outside of a transaction
    return done;
}

void Database::checkpoint() {
    const std::string log = sqlite3_db_filename(database_.get(), "main") + std::string("-wal");
    struct stat st {};
    if (::stat(log.c_str(), &st) < 0 || st.st_size < kLongLogBytes) return;
    sqlite3_busy_timeout(database_.get(), 0);
    (void)execute("PRAGMA wal_checkpoint(TRUNCATE)");  // busy: another's will do
    sqlite3_busy_timeout(database_.get(), kBusyTimeoutMs);
}

Result<int64_t> Database::version_of(std::string_view component) {
    TRY_ASSIGN(Statement table, prepare("SELECT 1 FROM sqlite_master WHERE name = 'schema'"));
    TRY_ASSIGN(const bool has_table, table.step());
    if (!has_table) return 0;
    TRY_ASSIGN(Statement query, prepare("SELECT version FROM schema WHERE component = ?"));
    query.bind(0, component);
    TRY_ASSIGN(const bool known, query.step());
    return known ? query.integer(0) : 0;
}

Status Database::migrate(std::string_view component, std::span<const char* const> migrations) {
    const auto newest = static_cast<int64_t>(migrations.size());
    TRY_ASSIGN(const int64_t before, version_of(component));
    if (before == newest) return ok();  // as nearly always: no write lock needed
    return transaction([&]() -> Status {
        TRY(
            execute("CREATE TABLE IF NOT EXISTS schema (component TEXT PRIMARY KEY NOT NULL, "
                    "version INTEGER NOT NULL) WITHOUT ROWID"));
        TRY_ASSIGN(const int64_t version, version_of(component));
        if (version < 0 || version > newest) {
            return Error{ErrorCode::kUnsupported,
                         fmt::format("the tables of {} have version {}, this build knows {}: they "
                                     "were made by a newer Drupe",
                                     component, version, newest)};
        }
        for (int64_t i = version; i < newest; ++i) {
            TRY(execute(migrations[static_cast<size_t>(i)]));
        }
        TRY_ASSIGN(Statement update,
                   prepare("INSERT INTO schema VALUES (?, ?) ON CONFLICT (component) "
                           "DO UPDATE SET version = excluded.version"));
        update.bind(0, component);
        update.bind(1, newest);
        return update.run();
    });
}

}  // namespace drupe::imagefs
