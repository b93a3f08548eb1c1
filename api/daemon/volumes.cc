#include "api/daemon/volumes.h"

#include <fmt/format.h>

#include <array>
#include <filesystem>

#include "api/engine/clock.h"
#include "api/engine/names.h"
#include "api/engine/paths.h"
#include "base/json_reader.h"
#include "imagefs/store/store_files.h"

namespace drupe::daemon {
namespace {

constexpr std::array kMigrations{R"sql(
    CREATE TABLE volumes(name TEXT PRIMARY KEY, labels TEXT NOT NULL, anonymous INTEGER NOT NULL,
        created_at_ns INTEGER NOT NULL) STRICT;
)sql"};
constexpr unsigned kFolderMode = 0701;
constexpr unsigned kDataMode = 0755;
constexpr size_t kMaxNameBytes = 255;

bool is_name(const std::string& name) {
    constexpr std::string_view kLetters =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
    const std::string all = std::string(kLetters) + "_.-";
    return name.size() >= 2 && name.size() <= kMaxNameBytes &&
           kLetters.find(name.front()) != std::string_view::npos &&
           name.find_first_not_of(all) == std::string::npos;
}

}  // namespace

Result<Volumes> Volumes::open(imagefs::Database& db, const std::string& root) {
    TRY(db.migrate("volumes", kMigrations));
    return Volumes(db, root);
}

Result<std::vector<Volume>> Volumes::list() {
    TRY_ASSIGN(auto rows, db_.prepare("SELECT name, labels, anonymous, created_at_ns FROM volumes "
                                      "ORDER BY created_at_ns DESC"));
    std::vector<Volume> volumes;
    for (;;) {
        TRY_ASSIGN(const bool there, rows.step());
        if (!there) return volumes;
        Volume& volume = volumes.emplace_back();
        volume.name = rows.text(0);
        volume.mountpoint = folder(volume.name) + "/_data";
        const auto labels = parse_json(rows.text(1));
        if (labels && labels.value().is_object()) {
            for (const auto& [name, value] : labels.value().items()) {
                if (value.is_string()) volume.labels[name] = value.get<std::string>();
            }
        }
        volume.anonymous = rows.integer(2) != 0;
        volume.created_at_ns = static_cast<uint64_t>(rows.integer(3));
    }
}

Result<Volume> Volumes::find(const std::string& name) {
    TRY_ASSIGN(const auto volumes, list());
    for (const Volume& volume : volumes) {
        if (volume.name == name) return volume;
    }
    return Error{ErrorCode::kNotFound, fmt::format("get {}: no such volume", name.substr(0, 128))};
}

Result<Volume> Volumes::create(const std::string& asked,
                               const std::map<std::string, std::string>& labels) {
    std::string name = asked;
    if (name.empty()) {
        TRY_ASSIGN(name, engine::random_id());
    }
    if (!is_name(name)) {
        return Error{ErrorCode::kInvalid,
                     fmt::format("create {}: \"{}\" includes invalid characters for a local volume "
                                 "name, only \"[a-zA-Z0-9][a-zA-Z0-9_.-]\" are allowed",
                                 name.substr(0, 128), name.substr(0, 128))};
    }
    // The folder first: a row whose folder is missing would be a lie.
    TRY(engine::make_folders(folder(name), kFolderMode));
    TRY(engine::make_folders(folder(name) + "/_data", kDataMode));
    bool is_new = false;
    TRY(db_.transaction([&]() -> Status {
        TRY_ASSIGN(const auto known, list());
        for (const Volume& volume : known) {
            if (volume.name == name) return ok();
        }
        is_new = true;
        if (known.size() >= kMax) {
            return Error{ErrorCode::kLimit, fmt::format("there are {} volumes already", kMax)};
        }
        TRY_ASSIGN(auto row, db_.prepare("INSERT INTO volumes VALUES(?, ?, ?, ?)"));
        row.bind(0, name);
        row.bind(1, dump_json(nlohmann::json(labels)));
        row.bind(2, int64_t{asked.empty()});
        row.bind(3, static_cast<int64_t>(engine::realtime_ns()));
        return row.run();
    }));
    TRY_ASSIGN(Volume volume, find(name));
    volume.is_new = is_new;
    return volume;
}

Status Volumes::remove(const std::string& name) {
    TRY(find(name));
    TRY_ASSIGN(auto row, db_.prepare("DELETE FROM volumes WHERE name = ?"));
    row.bind(0, name);
    TRY(row.run());
    std::error_code error;
    std::filesystem::remove_all(folder(name), error);
    if (error) return os_error("remove " + folder(name), error.value());
    return ok();
}

Result<uint64_t> Volumes::bytes(const Volume& volume) const {
    imagefs::SeenFiles seen;
    return imagefs::tree_bytes(volume.mountpoint, seen);
}

}  // namespace drupe::daemon
