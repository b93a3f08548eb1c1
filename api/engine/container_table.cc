#include "api/engine/container_table.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

#include "api/engine/container_json.h"
#include "api/engine/names.h"

namespace drupe::engine {
namespace {

using imagefs::Statement;

constexpr std::array kMigrations{R"sql(
    CREATE TABLE containers(
        id TEXT PRIMARY KEY, name TEXT NOT NULL UNIQUE, image_id TEXT NOT NULL,
        config TEXT NOT NULL, uid INTEGER NOT NULL UNIQUE,
        state TEXT NOT NULL, step INTEGER NOT NULL, pid INTEGER NOT NULL,
        pid_started INTEGER NOT NULL, created_at_ns INTEGER NOT NULL,
        started_at_ns INTEGER NOT NULL, finished_at_ns INTEGER NOT NULL,
        exit_code INTEGER NOT NULL, oom_killed INTEGER NOT NULL,
        reason TEXT NOT NULL, error TEXT NOT NULL) STRICT;
    CREATE INDEX containers_by_image ON containers(image_id);
    CREATE INDEX containers_unsettled ON containers(id)
        WHERE state IN ('running', 'paused', 'restarting') OR step <> 0;
    CREATE TABLE engine_counters(name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT;
    INSERT INTO engine_counters VALUES('next_uid', 0);
)sql",
                                 R"sql(
    ALTER TABLE containers ADD COLUMN restarts INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE containers ADD COLUMN stopped_by_user INTEGER NOT NULL DEFAULT 0;
)sql"};

constexpr std::string_view kColumns =
    "SELECT id, name, image_id, config, uid, state, step, pid, pid_started, created_at_ns, "
    "started_at_ns, finished_at_ns, exit_code, oom_killed, reason, error, restarts, "
    "stopped_by_user FROM containers ";

constexpr unsigned kNameAttempts = 64;
constexpr size_t kShown = 128;  // of a query in a message

Error corrupt(std::string_view id, std::string_view what) {
    return Error{ErrorCode::kCorrupt,
                 fmt::format("drupe.db: container {}: bad {}", short_id(id), what)};
}

/// All but its configuration.
Result<Container> read_row(const Statement& row) {
    const auto number = [&](int column) { return static_cast<uint64_t>(row.integer(column)); };
    Container c;
    c.id = row.text(0);
    c.name = row.text(1);
    c.image_id = row.text(2);
    c.uid = static_cast<uint32_t>(number(4));
    const auto state = parse_state(row.text(5));
    if (!state) return corrupt(c.id, "state");
    c.state = *state;
    if (number(6) > static_cast<uint64_t>(Step::kCopying)) return corrupt(c.id, "step");
    c.step = static_cast<Step>(number(6));
    c.pid = static_cast<pid_t>(number(7));
    c.pid_started = number(8);
    c.created_at_ns = number(9);
    c.started_at_ns = number(10);
    c.finished_at_ns = number(11);
    c.exit_code = static_cast<uint32_t>(number(12));
    c.oom_killed = number(13) != 0;
    c.reason = row.text(14);
    c.error = row.text(15);
    c.restarts = static_cast<uint32_t>(number(16));
    c.stopped_by_user = number(17) != 0;
    return c;
}

/// Binds what update() may change, from the given parameter on; returns the next one.
int bind_changing(Statement& statement, int at, const Container& c) {
    statement.bind(at++, to_string(c.state));
    for (const uint64_t value :
         {static_cast<uint64_t>(c.step), static_cast<uint64_t>(c.pid), c.pid_started,
          c.created_at_ns, c.started_at_ns, c.finished_at_ns, static_cast<uint64_t>(c.exit_code),
          static_cast<uint64_t>(c.oom_killed), static_cast<uint64_t>(c.restarts),
          static_cast<uint64_t>(c.stopped_by_user)}) {
        statement.bind(at++, static_cast<int64_t>(value));
    }
    statement.bind(at++, c.reason);
    statement.bind(at++, c.error);
    return at;
}

bool is_hex(std::string_view text) {
    return !text.empty() && text.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

}  // namespace

Result<ContainerTable> ContainerTable::open(imagefs::Database& db) {
    TRY(db.migrate("engine", kMigrations));
    // The first connection reads the whole log: it is kept short, by checkpoint() if it gets to it.
    TRY(db.execute("PRAGMA wal_autocheckpoint = 256"));
    return ContainerTable(db);
}

Result<uint32_t> ContainerTable::take_uid() {
    TRY_ASSIGN(auto counter,
               db_->prepare("SELECT value FROM engine_counters WHERE name = 'next_uid'"));
    TRY_ASSIGN(const bool there, counter.step());
    if (!there) return Error{ErrorCode::kCorrupt, "drupe.db: no counter of uids"};
    const auto start = static_cast<uint64_t>(counter.integer(0)) % kMonitorUids;
    for (uint64_t i = 0; i < kMonitorUids; ++i) {
        const auto uid = static_cast<uint32_t>(kFirstMonitorUid + (start + i) % kMonitorUids);
        TRY_ASSIGN(auto taken, db_->prepare("SELECT 1 FROM containers WHERE uid = ?"));
        taken.bind(0, int64_t{uid});
        TRY_ASSIGN(const bool is_taken, taken.step());
        if (is_taken) continue;
        TRY_ASSIGN(auto next,
                   db_->prepare("UPDATE engine_counters SET value = ? WHERE name = 'next_uid'"));
        next.bind(0, static_cast<int64_t>((start + i + 1) % kMonitorUids));
        TRY(next.run());
        return uid;
    }
    return Error{ErrorCode::kLimit,
                 fmt::format("there are {} containers: remove some (drupe rm)", kMonitorUids)};
}

Status ContainerTable::take_name(Container& container) {
    const bool generated = container.name.empty();
    for (unsigned attempt = 0; attempt < kNameAttempts; ++attempt) {
        if (generated) {
            TRY_ASSIGN(const std::string random, random_bytes(sizeof(uint64_t)));
            uint64_t number = 0;
            std::memcpy(&number, random.data(), sizeof number);
            container.name = generated_name(number, attempt);
        }
        TRY_ASSIGN(auto holder, db_->prepare("SELECT id FROM containers WHERE name = ?"));
        holder.bind(0, container.name);
        TRY_ASSIGN(const bool taken, holder.step());
        if (!taken) return ok();
        if (!generated) {
            return Error{
                ErrorCode::kConflict,
                fmt::format("Conflict. The container name \"/{}\" is already in use by container "
                            "\"{}\". You have to remove (or rename) that container to be "
                            "able to reuse that name.",
                            container.name, holder.text(0))};
        }
    }
    return Error{ErrorCode::kLimit, "found no free name for the container: give it one (--name)"};
}

/// A write transaction that survives the death of any process, and of a power cut all but the last
/// of them: containers come and go too often to wait for a disk each time.
Status ContainerTable::change(const std::function<Status()>& work) {
    return db_->transaction(work);
}

Status ContainerTable::insert(Container& container) {
    return change([&]() -> Status {
        TRY(take_name(container));
        TRY_ASSIGN(container.uid, take_uid());
        TRY_ASSIGN(auto row,
                   db_->prepare(
                       "INSERT INTO containers(state, step, pid, pid_started, "
                       "created_at_ns, started_at_ns, finished_at_ns, exit_code, "
                       "oom_killed, restarts, stopped_by_user, reason, error, id, name, image_id, "
                       "config, uid) "
                       "VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"));
        int at = bind_changing(row, 0, container);
        row.bind(at++, container.id);
        row.bind(at++, container.name);
        row.bind(at++, container.image_id);
        row.bind(at++, to_json(container.config));
        row.bind(at++, int64_t{container.uid});
        return row.run();
    });
}

Status ContainerTable::update(const Container& container) {
    return change([&]() -> Status {
        TRY_ASSIGN(auto row,
                   db_->prepare("UPDATE containers SET state = ?, step = ?, pid = ?, "
                                "pid_started = ?, created_at_ns = ?, started_at_ns = ?, "
                                "finished_at_ns = ?, exit_code = ?, oom_killed = ?, restarts = ?, "
                                "stopped_by_user = ?, reason = ?, error = ? WHERE id = ?"));
        const int at = bind_changing(row, 0, container);
        row.bind(at, container.id);
        TRY_ASSIGN(const int64_t updated, row.run_counted());
        if (updated == 0) {
            return Error{ErrorCode::kNotFound, "No such container: " + short_id(container.id)};
        }
        return ok();
    });
}

Status ContainerTable::set_text(std::string_view column, std::string_view value,
                                std::string_view id) {
    TRY_ASSIGN(auto row, db_->prepare(fmt::format(
                             "UPDATE containers SET {} = ? WHERE id = ? RETURNING 1", column)));
    row.bind(0, value);
    row.bind(1, id);
    TRY_ASSIGN(const bool there, row.step());
    if (!there)
        return Error{ErrorCode::kNotFound, fmt::format("No such container: {}", short_id(id))};
    TRY_ASSIGN(const bool more, row.step());
    static_cast<void>(more);
    return ok();
}

Status ContainerTable::reconfigure(const Container& container) {
    return change([&] { return set_text("config", to_json(container.config), container.id); });
}

Status ContainerTable::rename(const std::string& id, std::string_view name) {
    return change([&]() -> Status {
        TRY_ASSIGN(Container container, by_id(id));
        if (container.name == name) {
            return Error{ErrorCode::kConflict,
                         "Renaming a container with the same name as its current name"};
        }
        container.name = name;
        TRY(take_name(container));
        return set_text("name", name, id);
    });
}

Status ContainerTable::remove(std::string_view id) {
    return change([&]() -> Status {
        TRY_ASSIGN(auto row, db_->prepare("DELETE FROM containers WHERE id = ?"));
        row.bind(0, id);
        return row.run();
    });
}

Result<ContainerConfig> ContainerTable::config_of(std::string text) {
    if (text != read_text_) {
        TRY_ASSIGN(read_config_, parse_container_config(text));
        read_text_ = std::move(text);
    }
    return read_config_;
}

Result<std::vector<Container>> ContainerTable::select(std::string_view where,
                                                      std::string_view value) {
    TRY_ASSIGN(auto rows, db_->prepare(fmt::format("{}{}", kColumns, where)));
    if (!value.empty()) rows.bind(0, value);
    std::vector<Container> found;
    for (;;) {
        TRY_ASSIGN(const bool there, rows.step());
        if (!there) return found;
        TRY_ASSIGN(Container container, read_row(rows));
        TRY_ASSIGN(container.config, config_of(rows.text(3)));
        found.push_back(std::move(container));
    }
}

Result<Container> ContainerTable::by_id(std::string_view id) {
    TRY_ASSIGN(auto found, select("WHERE id = ?", id));
    if (found.empty()) {
        return Error{ErrorCode::kNotFound, fmt::format("No such container: {}", short_id(id))};
    }
    return std::move(found.front());
}

Result<Container> ContainerTable::find(std::string_view query) {
    const auto not_found = [&] {
        return Error{ErrorCode::kNotFound,
                     fmt::format("No such container: {}", query.substr(0, kShown))};
    };
    std::string_view name = query;
    if (name.starts_with('/')) name.remove_prefix(1);
    if (name.empty()) return not_found();
    if (name.size() == kIdDigits && is_hex(name)) {
        TRY_ASSIGN(auto by_full_id, select("WHERE id = ?", name));
        if (!by_full_id.empty()) return std::move(by_full_id.front());
    }
    TRY_ASSIGN(auto by_name, select("WHERE name = ?", name));
    if (!by_name.empty()) return std::move(by_name.front());
    if (name.size() > kIdDigits || !is_hex(name)) return not_found();
    TRY_ASSIGN(auto by_prefix, select("WHERE id GLOB ? LIMIT 2", std::string(name) + "*"));
    if (by_prefix.empty()) return not_found();
    if (by_prefix.size() > 1) {
        return Error{ErrorCode::kConflict,
                     fmt::format("several containers' ids start with {}: give more digits", name)};
    }
    return std::move(by_prefix.front());
}

Result<std::vector<Container>> ContainerTable::all() {
    return select("ORDER BY created_at_ns DESC, id", "");
}

Result<std::vector<Container>> ContainerTable::of_image(std::string_view image_id) {
    return select("WHERE image_id = ?", image_id);
}

}  // namespace drupe::engine
