#include "imagefs/store/blobs.h"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/core.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <filesystem>
#include <utility>

namespace drupe::imagefs {
namespace {

// A blob has one diffID: decompression is a function.
constexpr std::array kMigrations{
    "CREATE TABLE blobs ("
    "  digest TEXT PRIMARY KEY NOT NULL,"
    "  diff_id TEXT NOT NULL,"
    "  size_bytes INTEGER NOT NULL,"
    "  media_type TEXT NOT NULL,"
    "  kept INTEGER NOT NULL) WITHOUT ROWID;"
    "CREATE INDEX blobs_by_diff_id ON blobs (diff_id);"
    "CREATE TABLE blob_sources ("
    "  digest TEXT NOT NULL REFERENCES blobs(digest) ON DELETE CASCADE,"
    "  source TEXT NOT NULL,"
    "  PRIMARY KEY (digest, source)) WITHOUT ROWID;"
    "CREATE TABLE manifests ("
    "  digest TEXT PRIMARY KEY NOT NULL,"
    "  media_type TEXT NOT NULL,"
    "  body TEXT NOT NULL);",
};

constexpr std::string_view kColumns = "SELECT digest, size_bytes, media_type, kept FROM blobs ";

std::string blob_path(const Store& store, const Digest& digest) {
    return store.blobs_dir() + "/" + digest.hex();
}

Status put_row(Database& db, const Digest& diff_id, const BlobRecord& record, bool kept) {
    TRY_ASSIGN(Statement insert,
               db.prepare("INSERT INTO blobs VALUES (?, ?, ?, ?, ?) ON CONFLICT (digest) "
                          "DO UPDATE SET kept = max(kept, excluded.kept)"));
    insert.bind(0, record.digest.hex());
    insert.bind(1, diff_id.hex());
    insert.bind(2, static_cast<int64_t>(record.size));
    insert.bind(3, record.media_type);
    insert.bind(4, int64_t{kept ? 1 : 0});
    TRY(insert.run());
    for (const std::string& source : record.sources) {
        TRY_ASSIGN(Statement add,
                   db.prepare("INSERT OR IGNORE INTO blob_sources SELECT ?1, ?2 WHERE "
                              "(SELECT count(*) FROM blob_sources WHERE digest = ?1) < ?3"));
        add.bind(0, record.digest.hex());
        add.bind(1, source);
        add.bind(2, static_cast<int64_t>(kMaxBlobSources));
        TRY(add.run());
    }
    return ok();
}

Result<std::vector<BlobRecord>> records_of(Database& db, Statement& query) {
    std::vector<BlobRecord> records;
    for (;;) {
        TRY_ASSIGN(const bool row, query.step());
        if (!row) return records;
        BlobRecord record;
        TRY_ASSIGN(record.digest, Digest::parse(query.text(0)));
        record.size = static_cast<uint64_t>(query.integer(1));
        record.media_type = query.text(2);
        record.kept = query.integer(3) != 0;
        TRY_ASSIGN(Statement sources,
                   db.prepare("SELECT source FROM blob_sources WHERE digest = ? ORDER BY source"));
        sources.bind(0, record.digest.hex());
        for (;;) {
            TRY_ASSIGN(const bool source, sources.step());
            if (!source) break;
            record.sources.push_back(sources.text(0));
        }
        records.push_back(std::move(record));
    }
}

/// Removes a file that nobody has locked; its bytes.
Result<uint64_t> remove_unlocked(const std::string& path) {
    const Result<Fd> fd = open_file(path, O_RDONLY | O_NOFOLLOW);
    if (!fd) return uint64_t{0};
    TRY_ASSIGN(const bool free, lock_file(fd.value().get(), LOCK_EX | LOCK_NB, path));
    if (!free) return uint64_t{0};
    struct stat info {};
    if (::fstat(fd.value().get(), &info) < 0) return os_error("stat " + path);
    if (::unlink(path.c_str()) < 0 && errno != ENOENT) return os_error("remove " + path);
    return static_cast<uint64_t>(info.st_blocks) * 512;
}

/// Removes the files of a folder that `needed` doesn't want.
template <class Needed>
Result<uint64_t> sweep_folder(const std::string& dir, Needed needed) {
    uint64_t bytes = 0;
    std::error_code error;
    std::filesystem::directory_iterator it(dir, error);
    if (error == std::errc::no_such_file_or_directory) return bytes;
    for (; !error && it != std::filesystem::directory_iterator(); it.increment(error)) {
        TRY_ASSIGN(const bool wanted, needed(it->path().filename().string()));
        if (wanted) continue;
        TRY_ASSIGN(const uint64_t freed, remove_unlocked(it->path().string()));
        bytes += freed;
    }
    if (error) return os_error("list " + dir, error.value());
    return bytes;
}

}  // namespace

Status record_blob(Store& store, const Digest& diff_id, const BlobRecord& record) {
    Database& db = store.database();
    return db.transaction([&] { return put_row(db, diff_id, record, false); });
}

Result<std::vector<BlobRecord>> blobs_of(Store& store, const Digest& diff_id) {
    Database& db = store.database();
    TRY_ASSIGN(Statement query,
               db.prepare(std::string(kColumns) + "WHERE diff_id = ? ORDER BY kept DESC, digest"));
    query.bind(0, diff_id.hex());
    return records_of(db, query);
}

Result<std::optional<BlobRecord>> find_blob(Store& store, const Digest& digest) {
    Database& db = store.database();
    TRY_ASSIGN(Statement query, db.prepare(std::string(kColumns) + "WHERE digest = ?"));
    query.bind(0, digest.hex());
    TRY_ASSIGN(std::vector<BlobRecord> found, records_of(db, query));
    if (found.empty()) return std::optional<BlobRecord>();
    return std::optional(std::move(found.front()));
}

Result<Fd> open_blob(const Store& store, const Digest& digest) {
    Result<Fd> file = open_file(blob_path(store, digest), O_RDONLY | O_NOFOLLOW);
    if (file || file.error().code != ErrorCode::kNotFound) return file;
    return Error{ErrorCode::kNotFound,
                 fmt::format("the store doesn't keep blob {}", digest.to_string())};
}

Status keep_blob(Store& store, const Digest& diff_id, const BlobRecord& record, TmpFile file) {
    TRY(file.publish(blob_path(store, record.digest)));
    Database& db = store.database();
    return db.transaction([&] { return put_row(db, diff_id, record, true); });
}

Status put_manifest(Store& store, const Digest& digest, const ManifestRecord& record) {
    TRY_ASSIGN(Statement insert,
               store.database().prepare("INSERT OR IGNORE INTO manifests VALUES (?, ?, ?)"));
    insert.bind(0, digest.hex());
    insert.bind(1, record.media_type);
    insert.bind(2, record.body);
    return insert.run();
}

Result<std::optional<ManifestRecord>> find_manifest(Store& store, const Digest& digest) {
    TRY_ASSIGN(Statement query,
               store.database().prepare("SELECT media_type, body FROM manifests WHERE digest = ?"));
    query.bind(0, digest.hex());
    TRY_ASSIGN(const bool row, query.step());
    if (!row) return std::optional<ManifestRecord>();
    return std::optional(ManifestRecord{query.text(0), query.text(1)});
}

Status migrate_blobs(Database& db) {
    return db.migrate("blobs", kMigrations);
}

Result<uint64_t> sweep_blobs(Store& store) {
    TRY(store.database().execute(
        "DELETE FROM blobs WHERE diff_id NOT IN (SELECT diff_id FROM layers);"
        "DELETE FROM manifests WHERE digest NOT IN (SELECT manifest FROM images)"));
    TRY_ASSIGN(const uint64_t blobs,
               sweep_folder(store.blobs_dir(), [&](const std::string& name) -> Result<bool> {
                   const auto digest = Digest::parse(name);
                   if (!digest) return false;
                   TRY_ASSIGN(const auto record, find_blob(store, digest.value()));
                   return record && record->kept;
               }));
    // What a killed pull has left to go on with.
    TRY_ASSIGN(const uint64_t downloads,
               sweep_folder(store.downloads_dir(),
                            [](const std::string&) -> Result<bool> { return false; }));
    return blobs + downloads;
}

}  // namespace drupe::imagefs
