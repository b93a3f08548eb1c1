#include <fcntl.h>
#include <fmt/core.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <string>
#include <thread>
#include <utility>

#include "imagefs/store/store.h"
#include "imagefs/store/store_files.h"

namespace drupe::imagefs {
namespace {

constexpr size_t kMaxTopId = 128;
constexpr std::chrono::seconds kLetGoLimit{2};

Status check_id(std::string_view id) {
    const auto allowed = [](char c) {
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
               c == '_' || c == '.' || c == '-';
    };
    if (!id.empty() && id.size() <= kMaxTopId && id[0] != '.' &&
        std::all_of(id.begin(), id.end(), allowed)) {
        return ok();
    }
    return Error{ErrorCode::kInvalid,
                 fmt::format("\"{}\" can't name a disk: 1 to {} of A-Z a-z 0-9 _ . -, the first "
                             "not a dot",
                             id.substr(0, kMaxTopId), kMaxTopId)};
}

Error in_use(std::string_view id) {
    return Error{ErrorCode::kConflict, fmt::format("disk {} is in use by another machine", id)};
}

/// A machine that has said its last word lets go in a moment, as does a child that another thread
/// has forked to be a machine's monitor, or that a killed daemon had.
Result<bool> lock_soon(int fd, const std::string& path) {
    constexpr std::chrono::milliseconds kPoll{5};
    const auto until = std::chrono::steady_clock::now() + kLetGoLimit;
    for (;;) {
        TRY_ASSIGN(const bool mine, lock_file(fd, LOCK_EX | LOCK_NB, path));
        if (mine || std::chrono::steady_clock::now() > until) return mine;
        std::this_thread::sleep_for(kPoll);
    }
}

/// With whatever a crash in the middle of a sealing left.
Status remove_top_dir(const std::string& dir) {
    TRY(for_each_file(dir, [](const std::string& path, const std::string&) -> Status {
        return remove_if_there(path);
    }));
    at_step("rmdir", dir);
    if (::rmdir(dir.c_str()) < 0 && errno != ENOENT) return os_error("remove " + dir);
    return ok();
}

}  // namespace

std::string Store::top_dir(std::string_view id) const {
    return root_ + "/tops/" + std::string(id);
}

std::string Store::top_file(std::string_view id, const char* name, int64_t serial) const {
    const std::string path = top_dir(id) + "/" + name;
    return serial == 0 ? path : fmt::format("{}.{}", path, serial);
}

Result<Store::TopRow> Store::top_row(std::string_view id) {
    TRY(check_id(id));
    TRY_ASSIGN(Statement query, db_.prepare("SELECT chain_id, serial FROM tops WHERE id = ?"));
    query.bind(0, id);
    TRY_ASSIGN(const bool known, query.step());
    if (!known) return Error{ErrorCode::kNotFound, fmt::format("the store has no disk {}", id)};
    TRY_ASSIGN(const ChainId chain_id, Digest::parse(query.text(0)));
    return TopRow{chain_id, query.integer(1)};
}

Status Store::open_top_files(std::string_view id, int64_t serial, int flags,
                             DiskFiles& files) const {
    const std::string data = top_file(id, "data", serial);
    if ((flags & O_CREAT) != 0) at_step("create", data);
    TRY_ASSIGN(files.top_data, open_file(data, O_RDWR | O_NOFOLLOW | flags, 0600));
    // The lock is the descriptor's: it lasts until the machine that gets it has ended.
    TRY_ASSIGN(const bool mine, lock_soon(files.top_data.get(), data));
    if (!mine) return in_use(id);
    struct stat st {};
    if (::fstat(files.top_data.get(), &st) < 0) return os_error("fstat " + data);
    if (st.st_nlink == 0) {
        return Error{ErrorCode::kNotFound, fmt::format("disk {} was removed", id)};
    }
    // A sealing that was cut off may have written behind the disk's end.
    if (static_cast<uint64_t>(st.st_size) > files.virtual_bytes &&
        ::ftruncate(files.top_data.get(), static_cast<off_t>(files.virtual_bytes)) < 0) {
        return os_error("set the size of " + data);
    }
    TRY_ASSIGN(files.top_meta,
               open_file(top_file(id, "meta", serial), O_RDWR | O_NOFOLLOW | flags, 0600));
    return ok();
}

Result<DiskFiles> Store::create_top(std::string_view id, const ChainId& name) {
    TRY(check_id(id));
    TRY_ASSIGN(const ChainId chain_id, local_id(name));
    TRY_ASSIGN(DiskFiles files, open_chain(chain_id));
    // The row comes first: it keeps the chain from being pruned, and decides who owns the name.
    TRY_ASSIGN(Statement insert,
               db_.prepare("INSERT OR IGNORE INTO tops (id, chain_id) VALUES (?, ?)"));
    insert.bind(0, id);
    insert.bind(1, chain_id.hex());
    TRY_ASSIGN(const int64_t inserted, insert.run_counted());
    if (inserted == 0) {
        return Error{ErrorCode::kConflict, fmt::format("there is a disk {} already", id)};
    }
    const auto make = [&]() -> Status {
        TRY(remove_top_dir(top_dir(id)));  // a crash may have left one without a row
        TRY(make_dir(top_dir(id)));
        TRY(open_top_files(id, 0, O_CREAT | O_EXCL, files));
        return WritableTop::format(files.top_data.get(), files.top_meta.get(),
                                   files.virtual_bytes / BlockBackend::kBlockSize, chain_id);
    };
    if (Status made = make(); !made) {
        files = {};
        (void)remove_top(id);  // the first error is the one to report
        return std::move(made).error().wrap(fmt::format("create disk {}", id));
    }
    return files;
}

Result<DiskFiles> Store::open_top(std::string_view id) {
    TRY_ASSIGN(const TopRow row, top_row(id));
    TRY_ASSIGN(DiskFiles files, open_chain(row.chain_id));
    TRY(open_top_files(id, row.serial, 0, files));
    return files;
}

/// As in a seal: the next pair of files, then the row goes over to it.
Result<DiskFiles> Store::reset_top(std::string_view id, const ChainId& name) {
    TRY_ASSIGN(const ChainId chain_id, local_id(name));
    TRY_ASSIGN(const TopRow row, top_row(id));
    TRY_ASSIGN(DiskFiles files, open_chain(chain_id));
    DiskFiles old;
    old.virtual_bytes = files.virtual_bytes;
    TRY(open_top_files(id, row.serial, 0, old));
    const std::string data = top_file(id, "data", row.serial + 1);
    const std::string meta = top_file(id, "meta", row.serial + 1);
    const auto make = [&]() -> Status {
        TRY(remove_if_there(data));
        TRY(remove_if_there(meta));
        TRY(open_top_files(id, row.serial + 1, O_CREAT | O_EXCL, files));
        TRY(WritableTop::format(files.top_data.get(), files.top_meta.get(),
                                files.virtual_bytes / BlockBackend::kBlockSize, chain_id));
        TRY(sync_file(files.top_data.get(), data));
        TRY(sync_file(files.top_meta.get(), meta));
        TRY(sync_dir(top_dir(id)));
        return db_.durable_transaction([&] { return move_top(id, row.serial, chain_id); });
    };
    if (Status made = make(); !made) {
        (void)remove_if_there(data);
        (void)remove_if_there(meta);
        return std::move(made).error().wrap(fmt::format("reset disk {}", id));
    }
    (void)remove_if_there(top_file(id, "data", row.serial));  // remove_top() takes what is left
    (void)remove_if_there(top_file(id, "meta", row.serial));
    return files;
}

/// To the next pair of files, on another chain.
Status Store::move_top(std::string_view id, int64_t serial, const ChainId& chain_id) {
    TRY_ASSIGN(Statement top, db_.prepare("UPDATE tops SET chain_id = ?, serial = serial + 1 WHERE "
                                          "id = ? AND serial = ? RETURNING 1"));
    top.bind(0, chain_id.hex());
    top.bind(1, id);
    top.bind(2, serial);
    TRY_ASSIGN(const bool moved, top.step());
    if (!moved) return Error{ErrorCode::kConflict, "its row has changed meanwhile"};
    return top.run();  // to its end
}

Status Store::remove_top(std::string_view id) {
    const Result<TopRow> known = top_row(id);
    if (!known && known.error().code == ErrorCode::kNotFound) return ok();
    if (!known) return known.error();
    const std::string data = top_file(id, "data", known.value().serial);
    const Result<Fd> fd = open_file(data, O_RDWR | O_NOFOLLOW);
    if (fd) {
        TRY_ASSIGN(const bool mine, lock_soon(fd.value().get(), data));
        if (!mine) return in_use(id);
    } else if (fd.error().code != ErrorCode::kNotFound) {
        return fd.error();
    }
    TRY(remove_top_dir(top_dir(id)));
    TRY_ASSIGN(Statement remove, db_.prepare("DELETE FROM tops WHERE id = ?"));
    remove.bind(0, id);
    return remove.run();
}

Result<uint64_t> Store::top_bytes(std::string_view id) {
    TRY_ASSIGN(const TopRow row, top_row(id));
    uint64_t bytes = 0;
    for (const char* name : {"data", "meta"}) {
        struct stat st {};
        const std::string path = top_file(id, name, row.serial);
        if (::stat(path.c_str(), &st) < 0) return os_error("stat " + path);
        bytes += static_cast<uint64_t>(st.st_blocks) * 512;
    }
    return bytes;
}

}  // namespace drupe::imagefs
