#include "imagefs/store/store_files.h"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/core.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "imagefs/store/block_io.h"
#include "imagefs/store/layer_format.h"

namespace drupe::imagefs {
namespace {

StepHook g_step_hook = nullptr;

Result<std::string> random_name() {
    uint64_t number = 0;
    if (::getrandom(&number, sizeof number, 0) != sizeof number) return os_error("getrandom");
    return fmt::format("{:016x}", number);
}

struct CloseDir {
    void operator()(DIR* dir) const { ::closedir(dir); }
};

struct Blocks {
    uint64_t first;
    uint64_t end;
    bool operator==(const Blocks&) const = default;
};

Result<std::vector<Blocks>> data_runs(int fd, uint64_t blocks) {
    std::vector<Blocks> runs;
    off_t position = 0;
    while (runs.size() <= blocks) {
        const off_t data = ::lseek(fd, position, SEEK_DATA);
        if (data < 0 && errno == ENXIO) return runs;
        if (data < 0) return os_error("SEEK_DATA");
        position = ::lseek(fd, data, SEEK_HOLE);
        if (position < 0) return os_error("SEEK_HOLE");
        if (data % static_cast<off_t>(kBlock) != 0 || position % static_cast<off_t>(kBlock) != 0) {
            return std::vector<Blocks>{};
        }
        runs.push_back(
            {static_cast<uint64_t>(data) / kBlock, static_cast<uint64_t>(position) / kBlock});
    }
    return runs;
}

}  // namespace

void set_step_hook(StepHook hook) {
    g_step_hook = hook;
}

void at_step(std::string_view step, const std::string& path) {
    if (g_step_hook != nullptr) g_step_hook(step, path);
}

Result<TmpFile> TmpFile::create(const std::string& dir) {
    for (int attempt = 0; attempt < 16; ++attempt) {
        TRY_ASSIGN(const std::string name, random_name());
        std::string path = fmt::format("{}/{}", dir, name);
        at_step("create", path);
        Result<Fd> fd = open_file(path, O_RDWR | O_CREAT | O_EXCL, 0600);
        if (!fd && fd.error().os_errno == EEXIST) continue;
        if (!fd) return std::move(fd).error();
        TmpFile file(std::move(fd).value(), std::move(path));
        // Another process may have taken it for a leftover before it was locked.
        TRY_ASSIGN(const bool locked, lock_file(file.fd(), LOCK_EX | LOCK_NB, file.path_));
        TRY_ASSIGN(const bool gone, has_no_name(file.fd(), file.path_));
        if (locked && !gone) return file;
        file.path_.clear();
    }
    return Error{ErrorCode::kIo, fmt::format("{}: no temporary file could be made", dir)};
}

TmpFile::TmpFile(TmpFile&& other) noexcept
    : fd_(std::move(other.fd_)), path_(std::exchange(other.path_, {})) {}

TmpFile::~TmpFile() {
    if (!path_.empty()) (void)remove_if_there(path_);
}

Status TmpFile::publish(const std::string& path) {
    TRY(sync_file(fd(), path_));
    TRY(publish_unsynced(path));
    return sync_dir(path.substr(0, path.rfind('/')));
}

Status TmpFile::publish_unsynced(const std::string& path) {
    TRY(rename_file(path_, path));
    path_.clear();
    return ok();
}

Result<Fd> TmpFile::anonymous(const std::string& dir) {
    TRY_ASSIGN(const TmpFile file, create(dir));
    return file.duplicate();
}

Result<ChainId> made_up_chain_id() {
    ChainId id;
    if (::getrandom(id.bytes.data(), id.bytes.size(), 0) != ssize_t{sizeof id.bytes}) {
        return os_error("getrandom");
    }
    return id;
}

Status remove_leftovers(const std::string& dir) {
    const std::unique_ptr<DIR, CloseDir> listing(::opendir(dir.c_str()));
    if (listing == nullptr) return os_error("open " + dir);
    while (const dirent* entry = ::readdir(listing.get())) {
        if (entry->d_name[0] == '.') continue;
        const std::string path = dir + "/" + entry->d_name;
        Result<Fd> fd = open_file(path, O_RDONLY | O_NOFOLLOW);
        if (!fd) continue;  // its maker was faster
        TRY_ASSIGN(const bool abandoned, lock_file(fd.value().get(), LOCK_EX | LOCK_NB, path));
        if (abandoned && ::unlink(path.c_str()) < 0 && errno != ENOENT) {
            return os_error("remove " + path);
        }
    }
    return ok();
}

Status for_each_file(
    const std::string& dir,
    const std::function<Status(const std::string& path, const std::string& name)>& visit) {
    std::error_code error;
    std::filesystem::directory_iterator it(dir, error);
    const std::filesystem::directory_iterator end;
    for (; !error && it != end; it.increment(error)) {
        TRY(visit(it->path().string(), it->path().filename().string()));
    }
    if (error && error != std::errc::no_such_file_or_directory) {
        return os_error("list " + dir, error.value());
    }
    return ok();
}

uint64_t allocated_bytes(const std::string& path) {
    struct stat st {};
    return ::stat(path.c_str(), &st) == 0 ? static_cast<uint64_t>(st.st_blocks) * 512 : 0;
}

Status remove_if_there(const std::string& path) {
    at_step("unlink", path);
    if (::unlink(path.c_str()) < 0 && errno != ENOENT) return os_error("remove " + path);
    return ok();
}

Status make_dir(const std::string& path) {
    at_step("mkdir", path);
    if (::mkdir(path.c_str(), 0700) < 0 && errno != EEXIST) return os_error("mkdir " + path);
    return ok();
}

Status sync_dir(const std::string& path) {
    TRY_ASSIGN(const Fd fd, open_file(path, O_RDONLY | O_DIRECTORY));
    return sync_file(fd.get(), path);
}

Status sync_file(int fd, const std::string& path) {
    at_step("sync", path);
    if (::fsync(fd) < 0) return os_error("fsync " + path);
    at_step("synced", path);
    return ok();
}

Status link_file(const std::string& from, const std::string& to) {
    at_step("link", to);
    if (::link(from.c_str(), to.c_str()) < 0) {
        return os_error(fmt::format("link {} to {}", from, to));
    }
    return ok();
}

Status rename_file(const std::string& from, const std::string& to) {
    at_step("rename", to);
    if (::rename(from.c_str(), to.c_str()) < 0) {
        return os_error(fmt::format("rename {} to {}", from, to));
    }
    return ok();
}

Result<bool> lock_file(int fd, int operation, const std::string& path) {
    while (::flock(fd, operation) < 0) {
        if (errno == EWOULDBLOCK) return false;
        if (errno != EINTR) return os_error("flock " + path);
    }
    return true;
}

Result<bool> has_no_name(int fd, const std::string& path) {
    struct stat st {};
    if (::fstat(fd, &st) < 0) return os_error("fstat " + path);
    return st.st_nlink == 0;
}

Status probe_file_system(const std::string& dir) {
    constexpr uint64_t kBlocks = 64;
    TRY_ASSIGN(const Fd fd, TmpFile::anonymous(dir));
    if (::ftruncate(fd.get(), kBlocks * kBlock) < 0) return os_error("set a file's size in " + dir);
    std::array<std::byte, kBlock> block{};
    TRY(write_exact(fd.get(), block, 10 * kBlock));  // zeroes
    block.fill(std::byte{0xA5});
    for (const uint64_t at : {1, 3, 4, 20, 21, 22, 63}) {
        TRY(write_exact(fd.get(), block, at * kBlock));
    }
    TRY(punch_hole(fd.get(), 21 * kBlock, kBlock));
    const std::vector<Blocks> expected{{1, 2}, {3, 5}, {10, 11}, {20, 21}, {22, 23}, {63, 64}};
    for (const bool synced : {false, true}) {
        if (synced && ::fsync(fd.get()) < 0) return os_error("fsync in " + dir);
        TRY_ASSIGN(const std::vector<Blocks> runs, data_runs(fd.get(), kBlocks));
        if (runs == expected) continue;
        return Error{ErrorCode::kUnsupported,
                     fmt::format("the file system of {} doesn't report holes of 4096 bytes exactly "
                                 "(or drops blocks of zeroes, as compression does). Put the store "
                                 "on ext4, xfs, btrfs without compression, or tmpfs",
                                 dir)};
    }
    return ok();
}

Result<FileVersion> version_of_file(int fd, const std::string& path) {
    struct stat st {};
    if (::fstat(fd, &st) < 0) return os_error("fstat " + path);
    return FileVersion{st.st_dev, st.st_ino, st.st_size, st.st_ctim.tv_sec, st.st_ctim.tv_nsec};
}

}  // namespace drupe::imagefs
