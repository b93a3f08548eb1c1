#include "api/engine/lock.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>

#include <cerrno>
#include <chrono>
#include <thread>

#include "api/engine/paths.h"

namespace drupe::engine {
namespace {

constexpr mode_t kFileMode = 0600;
constexpr mode_t kFolderMode = 0700;
constexpr int kPollMs = 2;
constexpr int kAttempts = 1000;

/// 0, or the errno of flock(2).
int flock_error(int fd, int operation) {
    int result = 0;
    do {
        result = ::flock(fd, operation);
    } while (result < 0 && errno == EINTR);
    return result < 0 ? errno : 0;
}

/// True unless the file has been removed while its lock was waited for.
bool still_there(int fd, const std::string& path) {
    struct stat open {};
    struct stat named {};
    return ::fstat(fd, &open) == 0 && ::stat(path.c_str(), &named) == 0 &&
           open.st_ino == named.st_ino && open.st_dev == named.st_dev;
}

}  // namespace

Result<std::optional<ContainerLock>> ContainerLock::lock(const std::string& run_dir, bool wait) {
    const std::string path = run_dir + "/lock";
    for (int attempt = 0; attempt < kAttempts; ++attempt) {
        auto file = open_file(path, O_RDWR | O_CREAT, kFileMode);
        if (!file && file.error().os_errno == ENOENT) {
            TRY(make_folders(run_dir, kFolderMode));
            continue;
        }
        if (!file) return std::move(file).error();
        const int error = flock_error(file.value().get(), LOCK_EX | (wait ? 0 : LOCK_NB));
        if (error == EWOULDBLOCK) return std::optional<ContainerLock>();
        if (error != 0) return os_error("lock " + path, error);
        if (still_there(file.value().get(), path)) {
            return std::optional<ContainerLock>(ContainerLock(std::move(file).value()));
        }
    }
    return Error{ErrorCode::kLimit, "lock " + path + ": it is removed again and again"};
}

Result<ContainerLock> ContainerLock::take(const std::string& run_dir) {
    TRY_ASSIGN(auto taken, lock(run_dir, true));
    return std::move(*taken);
}

Result<std::optional<ContainerLock>> ContainerLock::try_take(const std::string& run_dir) {
    return lock(run_dir, false);
}

Result<Fd> take_alive_lock(const std::string& run_dir) {
    const std::string path = run_dir + "/alive";
    TRY_ASSIGN(Fd file, open_file(path, O_RDWR | O_CREAT, kFileMode));
    // A probe of monitor_lives() holds the lock for a moment.
    for (int attempt = 0; attempt < 500; ++attempt) {
        const int error = flock_error(file.get(), LOCK_EX | LOCK_NB);
        if (error == 0) return file;
        if (error != EWOULDBLOCK) return os_error("lock " + path, error);
        std::this_thread::sleep_for(std::chrono::milliseconds(kPollMs));
    }
    return Error{ErrorCode::kConflict, "its monitor still runs: wait for its end, or use rm -f"};
}

Result<bool> monitor_lives(const std::string& run_dir) {
    const std::string path = run_dir + "/alive";
    auto file = open_file(path, O_RDONLY);
    if (!file && file.error().os_errno == ENOENT) return false;
    if (!file) return std::move(file).error();
    const int error = flock_error(file.value().get(), LOCK_SH | LOCK_NB);
    if (error != 0 && error != EWOULDBLOCK) return os_error("lock " + path, error);
    return error == EWOULDBLOCK;
}

Result<bool> await_monitor_end(const std::string& run_dir, int timeout_ms) {
    if (timeout_ms < 0) {
        const std::string path = run_dir + "/alive";
        auto file = open_file(path, O_RDONLY);
        if (!file && file.error().os_errno == ENOENT) return true;
        if (!file) return std::move(file).error();
        const int error = flock_error(file.value().get(), LOCK_SH);
        if (error != 0) return os_error("lock " + path, error);
        return true;
    }
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::milliseconds(timeout_ms);
    for (;;) {
        TRY_ASSIGN(const bool lives, monitor_lives(run_dir));
        if (!lives) return true;
        if (std::chrono::steady_clock::now() >= deadline) return false;
        std::this_thread::sleep_for(std::chrono::milliseconds(kPollMs));
    }
}

}  // namespace drupe::engine
