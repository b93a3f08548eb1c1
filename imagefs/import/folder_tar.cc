#include <dirent.h>
#include <fcntl.h>
#include <fmt/core.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <map>
#include <optional>
#include <vector>

#include "base/fd.h"
#include "imagefs/import/tar_stream.h"

namespace drupe::imagefs {
namespace {

constexpr size_t kMaxDepth = 256;  // An open folder each.
constexpr size_t kReadBytes = 256 * 1024;

struct CloseFolder {
    void operator()(DIR* folder) const { closedir(folder); }
};

struct Level {
    Fd fd;
    std::string path;                // From the root: "etc/ssl", "" for the root itself.
    std::vector<std::string> names;  // Descending: the next one is at the back.
};

Result<std::vector<std::string>> names_in(int fd, const std::string& path) {
    // A descriptor of its own: fdopendir takes it over, and its position.
    Fd own(openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!own.valid()) return os_error(path);
    const std::unique_ptr<DIR, CloseFolder> folder(fdopendir(own.get()));
    if (!folder) return os_error(path);
    static_cast<void>(own.release());
    std::vector<std::string> names;
    while (true) {
        errno = 0;
        const dirent* entry = readdir(folder.get());
        if (entry == nullptr) break;
        const std::string_view name = entry->d_name;
        if (name != "." && name != "..") names.emplace_back(name);
    }
    if (errno != 0) return os_error(path);
    std::sort(names.rbegin(), names.rend());
    return names;
}

Result<std::vector<ext4::Xattr>> read_xattrs(int fd, const std::string& path) {
    std::vector<ext4::Xattr> list;
    std::string names(64 * 1024, '\0');
    const ssize_t size = flistxattr(fd, names.data(), names.size());
    if (size < 0) {
        if (errno == ENOTSUP) return list;
        return os_error(path + ": list extended attributes");
    }
    for (size_t at = 0; at < static_cast<size_t>(size);) {
        const std::string name = names.c_str() + at;
        at += name.size() + 1;
        std::string value(64 * 1024, '\0');
        const ssize_t got = fgetxattr(fd, name.c_str(), value.data(), value.size());
        if (got < 0) return os_error(path + ": read " + name);
        value.resize(static_cast<size_t>(got));
        list.push_back({name, std::move(value)});
    }
    std::sort(list.begin(), list.end(),
              [](const ext4::Xattr& a, const ext4::Xattr& b) { return a.name < b.name; });
    return list;
}

class FolderTar final : public ByteSource {
  public:
    explicit FolderTar(std::string root) : root_(std::move(root)) {}

    Status start() {
        TRY_ASSIGN(Fd fd, open_file(root_, O_RDONLY | O_DIRECTORY));
        struct stat info {};
        if (fstat(fd.get(), &info) != 0) return os_error(root_);
        ext4::Entry entry = describe("./", info);
        entry.type = ext4::EntryType::kDirectory;
        TRY_ASSIGN(entry.xattrs, read_xattrs(fd.get(), root_));
        TRY(tar_.header(entry));
        TRY_ASSIGN(std::vector<std::string> names, names_in(fd.get(), root_));
        levels_.push_back({std::move(fd), "", std::move(names)});
        return ok();
    }

    Result<size_t> read(std::span<std::byte> out) override {
        while (at_ == pending_.size()) {
            pending_ = tar_.take();
            at_ = 0;
            if (!pending_.empty()) break;
            if (finished_) return size_t{0};
            TRY(advance());
        }
        const size_t count = std::min(out.size(), pending_.size() - at_);
        std::memcpy(out.data(), pending_.data() + at_, count);
        at_ += count;
        return count;
    }

  private:
    static ext4::Entry describe(std::string path, const struct stat& info) {
        ext4::Entry entry;
        entry.path = std::move(path);
        entry.mode = info.st_mode & 07777;
        entry.uid = info.st_uid;
        entry.gid = info.st_gid;
        entry.mtime = info.st_mtim.tv_sec;
        entry.mtime_ns = static_cast<uint32_t>(info.st_mtim.tv_nsec);
        return entry;
    }
    std::string host_path(const std::string& path) const { return root_ + "/" + path; }

    /// One step: a piece of the open file, or the next name.
    Status advance() {
        if (file_.valid()) return copy_piece();
        if (levels_.empty()) {
            finished_ = true;
            return tar_.finish();
        }
        Level& level = levels_.back();
        if (level.names.empty()) {
            levels_.pop_back();
            return ok();
        }
        const std::string name = std::move(level.names.back());
        level.names.pop_back();
        return add(level.fd.get(), name, level.path.empty() ? name : level.path + "/" + name);
    }

    Status add(int folder, const std::string& name, const std::string& path) {
        struct stat info {};
        if (fstatat(folder, name.c_str(), &info, AT_SYMLINK_NOFOLLOW) != 0) {
            return os_error(host_path(path));
        }
        ext4::Entry entry = describe(path, info);
        if (!S_ISDIR(info.st_mode) && info.st_nlink > 1) {
            const auto [first, fresh] = links_.try_emplace({info.st_dev, info.st_ino}, path);
            if (!fresh) {
                entry.type = ext4::EntryType::kHardlink;
                entry.target = first->second;
                return tar_.header(entry);
            }
        }
        switch (info.st_mode & S_IFMT) {
            case S_IFDIR:
                return add_directory(folder, name, std::move(entry));
            case S_IFREG:
                return add_file(folder, name, std::move(entry), info);
            case S_IFLNK:
                return add_symlink(folder, name, std::move(entry));
            case S_IFCHR:
            case S_IFBLK:
                entry.type = S_ISCHR(info.st_mode) ? ext4::EntryType::kCharDevice
                                                   : ext4::EntryType::kBlockDevice;
                entry.device_major = major(info.st_rdev);
                entry.device_minor = minor(info.st_rdev);
                return tar_.header(entry);
            case S_IFIFO:
                entry.type = ext4::EntryType::kFifo;
                return tar_.header(entry);
            default:
                return ok();  // Sockets mean nothing without who listens.
        }
    }

    Status add_directory(int folder, const std::string& name, ext4::Entry entry) {
        const std::string path = entry.path;
        if (levels_.size() >= kMaxDepth) {
            return Error{ErrorCode::kLimit,
                         fmt::format("{}: deeper than {} folders", host_path(path), kMaxDepth)};
        }
        Fd fd(openat(folder, name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
        if (!fd.valid()) return os_error(host_path(path));
        entry.type = ext4::EntryType::kDirectory;
        entry.path += '/';
        TRY_ASSIGN(entry.xattrs, read_xattrs(fd.get(), host_path(path)));
        TRY(tar_.header(entry));
        TRY_ASSIGN(std::vector<std::string> names, names_in(fd.get(), host_path(path)));
        levels_.push_back({std::move(fd), path, std::move(names)});
        return ok();
    }

    Status add_file(int folder, const std::string& name, ext4::Entry entry,
                    const struct stat& seen) {
        const std::string path = host_path(entry.path);
        Fd fd(openat(folder, name.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
        if (!fd.valid()) return os_error(path);
        struct stat info {};
        if (fstat(fd.get(), &info) != 0) return os_error(path);
        if (info.st_ino != seen.st_ino || !S_ISREG(info.st_mode)) {
            return Error{ErrorCode::kConflict, path + " changed while it was read"};
        }
        entry.size = static_cast<uint64_t>(info.st_size);
        TRY_ASSIGN(entry.xattrs, read_xattrs(fd.get(), path));
        TRY(tar_.header(entry));
        if (entry.size == 0) return ok();
        file_ = std::move(fd);
        file_path_ = path;
        file_offset_ = 0;
        file_size_ = entry.size;
        return ok();
    }

    Status add_symlink(int folder, const std::string& name, ext4::Entry entry) {
        std::array<char, 4096> target{};
        const ssize_t size = readlinkat(folder, name.c_str(), target.data(), target.size());
        if (size < 0) return os_error(host_path(entry.path));
        entry.type = ext4::EntryType::kSymlink;
        entry.target.assign(target.data(), static_cast<size_t>(size));
        return tar_.header(entry);
    }

    Status copy_piece() {
        buffer_.resize(std::min<uint64_t>(kReadBytes, file_size_ - file_offset_));
        const auto read =
            read_exact(file_.get(), std::as_writable_bytes(std::span(buffer_)), file_offset_);
        if (!read) {
            if (read.error().code != ErrorCode::kCorrupt) return read.error();
            return Error{ErrorCode::kConflict, file_path_ + " changed while it was read"};
        }
        file_offset_ += buffer_.size();
        if (file_offset_ == file_size_) file_.reset();
        return tar_.content(buffer_);
    }

    std::string root_;
    TarWriter tar_;
    std::vector<Level> levels_;
    std::map<std::pair<dev_t, ino_t>, std::string> links_;
    Fd file_;
    std::string file_path_;
    uint64_t file_offset_ = 0;
    uint64_t file_size_ = 0;
    std::string buffer_;
    std::string pending_;
    size_t at_ = 0;
    bool finished_ = false;
};

}  // namespace

Result<std::unique_ptr<ByteSource>> open_folder_tar(const std::string& path) {
    auto tar = std::make_unique<FolderTar>(path);
    TRY(tar->start());
    return std::unique_ptr<ByteSource>(std::move(tar));
}

}  // namespace drupe::imagefs
