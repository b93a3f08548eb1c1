#include <sys/stat.h>

#include <cerrno>
#include <filesystem>
#include <set>
#include <utility>

#include "imagefs/store/store.h"
#include "imagefs/store/store_files.h"

namespace drupe::imagefs {

Result<uint64_t> tree_bytes(const std::string& path, SeenFiles& seen) {
    struct stat st {};
    if (::lstat(path.c_str(), &st) < 0) {
        if (errno == ENOENT) return 0;  // removed meanwhile
        return os_error("stat " + path);
    }
    uint64_t bytes = static_cast<uint64_t>(st.st_blocks) * 512;
    // A file with several names counts once.
    if (!S_ISDIR(st.st_mode) && st.st_nlink > 1 && !seen.emplace(st.st_dev, st.st_ino).second) {
        bytes = 0;
    }
    if (!S_ISDIR(st.st_mode)) return bytes;
    TRY(for_each_file(path, [&](const std::string& child, const std::string&) -> Status {
        TRY_ASSIGN(const uint64_t more, tree_bytes(child, seen));
        bytes += more;
        return ok();
    }));
    return bytes;
}

Result<DiskUsage> Store::disk_usage() {
    DiskUsage usage;
    SeenFiles seen;
    const auto part_of = [&](const std::string& name) -> uint64_t& {
        if (name == "layers") return usage.layer_bytes;
        if (name == "indexes") return usage.index_bytes;
        if (name == "tops") return usage.top_bytes;
        if (name == "blobs") return usage.blob_bytes;
        if (name == "quarantine") return usage.quarantine_bytes;
        if (name == "tmp") return usage.tmp_bytes;
        if (name.starts_with("drupe.db")) return usage.database_bytes;
        return usage.other_bytes;
    };
    struct stat root {};
    if (::stat(root_.c_str(), &root) < 0) return os_error("stat " + root_);
    usage.other_bytes = static_cast<uint64_t>(root.st_blocks) * 512;
    usage.total_bytes = usage.other_bytes;
    TRY(for_each_file(root_, [&](const std::string& path, const std::string& name) -> Status {
        TRY_ASSIGN(const uint64_t bytes, tree_bytes(path, seen));
        part_of(name) += bytes;
        usage.total_bytes += bytes;
        return ok();
    }));
    TRY_ASSIGN(Statement counts, db_.prepare("SELECT (SELECT count(*) FROM layers), (SELECT "
                                             "count(*) FROM tops), (SELECT count(*) FROM images)"));
    TRY(counts.step());
    usage.layers = static_cast<uint64_t>(counts.integer(0));
    usage.tops = static_cast<uint64_t>(counts.integer(1));
    usage.images = static_cast<uint64_t>(counts.integer(2));
    return usage;
}

}  // namespace drupe::imagefs
