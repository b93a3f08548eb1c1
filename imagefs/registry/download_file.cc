#include "imagefs/registry/download_file.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <thread>

#include "imagefs/store/store_files.h"

namespace drupe::imagefs::registry {
namespace {

constexpr std::chrono::milliseconds kPoll{50};

/// Whether `path` still names what `fd` is.
bool is_at(int fd, const std::string& path) {
    struct stat opened {};
    struct stat named {};
    return ::fstat(fd, &opened) == 0 && ::lstat(path.c_str(), &named) == 0 &&
           opened.st_dev == named.st_dev && opened.st_ino == named.st_ino;
}

}  // namespace

Result<DownloadFile> DownloadFile::claim(const std::string& dir, const Digest& digest,
                                         const std::atomic<bool>& stop) {
    TRY(make_dir(dir));
    const std::string path = dir + "/" + digest.hex();
    const std::string part = path + ".part";
    while (!stop.load()) {
        // Complete ones first: a writer renames its file while it holds the lock.
        Result<Fd> whole = open_file(path, O_RDWR | O_NOFOLLOW);
        if (whole) {
            TRY_ASSIGN(const bool locked, lock_file(whole.value().get(), LOCK_SH | LOCK_NB, path));
            if (locked && is_at(whole.value().get(), path)) {
                return DownloadFile(std::move(whole).value(), path, true);
            }
        } else if (whole.error().code != ErrorCode::kNotFound) {
            return std::move(whole).error();
        } else {
            TRY_ASSIGN(Fd mine, open_file(part, O_RDWR | O_CREAT | O_NOFOLLOW, 0600));
            TRY_ASSIGN(const bool locked, lock_file(mine.get(), LOCK_EX | LOCK_NB, part));
            if (locked && is_at(mine.get(), part)) {
                return DownloadFile(std::move(mine), path, false);
            }
        }
        std::this_thread::sleep_for(kPoll);
    }
    return Error{ErrorCode::kLimit, "stopped"};
}

Result<uint64_t> DownloadFile::size() const {
    struct stat info {};
    if (::fstat(fd_.get(), &info) < 0) return os_error("stat " + path_);
    return static_cast<uint64_t>(info.st_size);
}

Status DownloadFile::complete() {
    if (complete_) return ok();
    if (::rename(part().c_str(), path_.c_str()) < 0) return os_error("rename " + part());
    complete_ = true;
    TRY(lock_file(fd_.get(), LOCK_SH, path_));
    return ok();
}

Status DownloadFile::discard() {
    const std::string name = complete_ ? path_ : part();
    if (is_at(fd_.get(), name) && ::unlink(name.c_str()) < 0 && errno != ENOENT) {
        return os_error("remove " + name);
    }
    return ok();  // Its descriptor stays: somebody may be reading.
}

void DownloadFile::release() {
    if (!fd_.valid()) return;
    // Only a complete one; a part is for the next attempt.
    if (complete_) {
        const auto last = lock_file(fd_.get(), LOCK_EX | LOCK_NB, path_);
        if (last && last.value() && is_at(fd_.get(), path_)) ::unlink(path_.c_str());
    }
    fd_.reset();
}

}  // namespace drupe::imagefs::registry
