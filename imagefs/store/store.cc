#include "imagefs/store/store.h"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/core.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <filesystem>
#include <map>
#include <set>
#include <utility>

#include "imagefs/store/blobs.h"
#include "imagefs/store/store_files.h"

namespace drupe::imagefs {
namespace {

constexpr std::array kMigrations{
    "CREATE TABLE layers ("
    "  chain_id TEXT PRIMARY KEY NOT NULL,"
    "  parent TEXT REFERENCES layers(chain_id) DEFERRABLE INITIALLY DEFERRED,"
    "  diff_id TEXT NOT NULL,"
    "  size_bytes INTEGER NOT NULL) WITHOUT ROWID;"
    "CREATE TABLE images ("
    "  id TEXT PRIMARY KEY NOT NULL,"
    "  config TEXT NOT NULL,"
    "  chain_id TEXT NOT NULL REFERENCES layers(chain_id),"
    "  manifest TEXT NOT NULL,"
    "  size_bytes INTEGER NOT NULL,"
    "  created_s INTEGER NOT NULL);"
    "CREATE TABLE tags ("
    "  reference TEXT PRIMARY KEY NOT NULL,"
    "  image_id TEXT NOT NULL REFERENCES images(id) ON DELETE CASCADE) WITHOUT ROWID;"
    "CREATE TABLE tops ("
    "  id TEXT PRIMARY KEY NOT NULL,"
    "  chain_id TEXT NOT NULL REFERENCES layers(chain_id)) WITHOUT ROWID;",

    // Layers that were sealed from tops.
    "ALTER TABLE layers ADD COLUMN form INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE layers ADD COLUMN needs_replay INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE layers ADD COLUMN quarantined INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE tops ADD COLUMN serial INTEGER NOT NULL DEFAULT 0;"
    "CREATE TABLE aliases ("
    "  alias TEXT PRIMARY KEY NOT NULL,"
    "  chain_id TEXT UNIQUE NOT NULL REFERENCES layers(chain_id) ON DELETE CASCADE) WITHOUT ROWID;"
    "CREATE TABLE flats ("
    "  chain_id TEXT PRIMARY KEY NOT NULL REFERENCES layers(chain_id) ON DELETE CASCADE,"
    "  base TEXT NOT NULL REFERENCES layers(chain_id) DEFERRABLE INITIALLY DEFERRED)"
    "  WITHOUT ROWID;",

    "ALTER TABLE images ADD COLUMN tagged_ns INTEGER NOT NULL DEFAULT 0;",
};

constexpr std::array kFolders{"layers", "indexes", "tops", "blobs", "tmp"};
constexpr std::string_view kFormat = "drupe store 1\n";

/// Makes the folders, probes the file system, and then says so in the file `format`.
Status set_up(const std::string& root) {
    const std::string marker = root + "/format";
    Result<std::string> found = read_file(marker, 4096);
    if (found && found.value() == kFormat) return ok();
    if (found) {
        return Error{ErrorCode::kUnsupported,
                     fmt::format("{} is a store of another version: \"{}\"", root,
                                 found.value().substr(0, 40))};
    }
    if (found.error().code != ErrorCode::kNotFound) return std::move(found).error();
    for (const char* folder : kFolders) {
        TRY(make_dir(root + "/" + folder));
    }
    TRY(probe_file_system(root + "/tmp"));
    TRY_ASSIGN(TmpFile file, TmpFile::create(root + "/tmp"));
    TRY(write_exact(file.fd(), std::as_bytes(std::span(kFormat)), 0));
    return file.publish(marker);
}

/// Removes folders of tops that have no row, and what a sealing that was cut off left in the
/// others: a top's row comes before its folder, and sealing holds a lease.
Status sweep_tops(Database& db, const std::string& tops, uint64_t& bytes) {
    std::map<std::string, int64_t> serials;
    TRY_ASSIGN(Statement query, db.prepare("SELECT id, serial FROM tops"));
    for (;;) {
        TRY_ASSIGN(const bool row, query.step());
        if (!row) break;
        serials.emplace(query.text(0), query.integer(1));
    }
    return for_each_file(tops, [&](const std::string& dir, const std::string& id) -> Status {
        const auto top = serials.find(id);
        std::set<std::string> known;
        for (const char* name : {"data", "meta"}) {
            if (top == serials.end()) break;
            known.insert(top->second == 0 ? name : fmt::format("{}.{}", name, top->second));
        }
        TRY(for_each_file(dir, [&](const std::string& path, const std::string& name) -> Status {
            if (known.contains(name)) return ok();
            bytes += allocated_bytes(path);
            return remove_if_there(path);
        }));
        if (top == serials.end() && ::rmdir(dir.c_str()) < 0) return os_error("remove " + dir);
        return ok();
    });
}

}  // namespace

Result<Store> Store::open(std::string root) {
    while (root.size() > 1 && root.ends_with('/')) root.pop_back();
    std::error_code error;
    std::filesystem::create_directories(root, error);
    if (error) return os_error("create " + root, error.value());
    // One at a time: the first one sets up, and SQLite turns WAL on under an exclusive lock.
    const std::string lock = root + "/lock";
    TRY_ASSIGN(const Fd lock_fd, open_file(lock, O_RDWR | O_CREAT, 0600));
    TRY(lock_file(lock_fd.get(), LOCK_EX, lock));
    if (Status set = set_up(root); !set) return std::move(set).error().wrap("store " + root);
    TRY(make_dir(root + "/quarantine"));
    TRY(remove_leftovers(root + "/tmp"));
    TRY_ASSIGN(Database db, Database::open(root + "/drupe.db"));
    TRY(db.migrate("store", kMigrations));
    TRY(migrate_blobs(db));
    return Store(std::move(root), std::move(db));
}

Result<Fd> Store::lease() const {
    const std::string path = root_ + "/lease";
    TRY_ASSIGN(Fd fd, open_file(path, O_RDWR | O_CREAT, 0600));
    TRY(lock_file(fd.get(), LOCK_SH, path));
    return fd;
}

std::string Store::layer_path(const ChainId& chain_id) const {
    return root_ + "/layers/" + chain_id.hex();
}
std::string Store::index_path(const ChainId& chain_id) const {
    return root_ + "/indexes/" + chain_id.hex();
}

/// The layers that neither images nor tops need, and nobody has open.
Result<std::vector<LayerRecord>> Store::garbage() {
    std::map<std::string, LayerRecord> unmarked;
    TRY_ASSIGN(const std::vector<LayerRecord> layers, all_layers());
    for (const LayerRecord& layer : layers) unmarked.emplace(layer.chain_id.hex(), layer);
    const auto mark = [&](std::string chain_id) {
        for (auto it = unmarked.find(chain_id); it != unmarked.end();
             it = unmarked.find(chain_id)) {
            chain_id = it->second.parent ? it->second.parent->hex() : std::string();
            unmarked.erase(it);
        }
    };
    TRY_ASSIGN(Statement roots, db_.prepare("SELECT chain_id FROM images UNION "
                                            "SELECT chain_id FROM tops"));
    for (;;) {
        TRY_ASSIGN(const bool row, roots.step());
        if (!row) break;
        mark(roots.text(0));
    }
    std::vector<std::string> candidates;
    candidates.reserve(unmarked.size());
    for (const auto& [chain_id, record] : unmarked) candidates.push_back(chain_id);
    for (const std::string& chain_id : candidates) {
        const std::string path = root_ + "/layers/" + chain_id;
        const Result<Fd> fd = open_file(path, O_RDONLY);
        if (!fd) continue;
        TRY_ASSIGN(const bool free, lock_file(fd.value().get(), LOCK_EX | LOCK_NB, path));
        if (!free) mark(chain_id);
    }
    std::vector<LayerRecord> garbage;
    garbage.reserve(unmarked.size());
    for (const auto& [chain_id, record] : unmarked) garbage.push_back(record);
    return garbage;
}

/// Removes the files of layers that aren't in the database: pruned ones, and what a crash between
/// rename and commit left. Only with the lease's lock held exclusively. Returns bytes.
Result<uint64_t> Store::sweep_files() {
    std::set<std::string> known;
    TRY_ASSIGN(Statement all, db_.prepare("SELECT l.chain_id, f.chain_id || '.flat' FROM layers l "
                                          "LEFT JOIN flats f ON f.chain_id = l.chain_id"));
    for (;;) {
        TRY_ASSIGN(const bool row, all.step());
        if (!row) break;
        known.insert(all.text(0));
        known.insert(all.text(1));
    }
    uint64_t bytes = 0;
    const auto sweep = [&](const std::string& path, const std::string& name) -> Status {
        if (known.contains(name)) return ok();
        // The lock waits for a machine that is just opening it, and then finds it without a name.
        const Result<Fd> fd = open_file(path, O_RDONLY | O_NOFOLLOW);
        if (!fd) return ok();
        TRY_ASSIGN(const bool free, lock_file(fd.value().get(), LOCK_EX | LOCK_NB, path));
        if (!free) return ok();
        bytes += allocated_bytes(path);
        return remove_if_there(path);
    };
    for (const char* folder : {"/layers", "/indexes", "/quarantine"}) {
        TRY(for_each_file(root_ + folder, sweep));
    }
    TRY(sweep_tops(db_, root_ + "/tops", bytes));
    return bytes;
}

/// Flattened files that no chain in use is opened by any more.
Status Store::forget_unused_flats() {
    std::set<ChainId> used;
    TRY_ASSIGN(const std::vector<ChainId> heads,
               chain_ids("SELECT chain_id FROM images UNION SELECT chain_id FROM tops"));
    for (const ChainId& head : heads) {
        TRY_ASSIGN(const std::vector<LayerRecord> records, chain(head));
        TRY_ASSIGN(const std::vector<Part> parts_of_chain, parts(records));
        for (const Part& part : parts_of_chain) {
            if (part.flat) used.insert(part.chain_id);
        }
    }
    TRY_ASSIGN(const std::vector<ChainId> flats, chain_ids("SELECT chain_id FROM flats"));
    for (const ChainId& flat : flats) {
        if (!used.contains(flat)) {
            TRY(forget_flat(flat));
        }
    }
    return ok();
}

Result<Fd> Store::lease_alone() const {
    const std::string path = root_ + "/lease";
    TRY_ASSIGN(Fd fd, open_file(path, O_RDWR | O_CREAT, 0600));
    TRY_ASSIGN(const bool alone, lock_file(fd.get(), LOCK_EX | LOCK_NB, path));
    return alone ? std::move(fd) : Fd();
}

Result<PruneReport> Store::prune() {
    PruneReport report;
    TRY_ASSIGN(const Fd lease_fd, lease_alone());
    if (!lease_fd.valid()) return report;
    TRY(finish_joins());
    TRY(db_.transaction([&]() -> Status {
        TRY_ASSIGN(const std::vector<LayerRecord> unneeded, garbage());
        for (const LayerRecord& record : unneeded) {
            TRY_ASSIGN(Statement remove, db_.prepare("DELETE FROM layers WHERE chain_id = ?"));
            remove.bind(0, record.chain_id.hex());
            TRY(remove.run());
        }
        report.layers = unneeded.size();
        return forget_unused_flats();
    }));
    TRY_ASSIGN(report.bytes, sweep_files());
    TRY_ASSIGN(const uint64_t blob_bytes, sweep_blobs(*this));
    report.bytes += blob_bytes;
    return report;
}

}  // namespace drupe::imagefs
