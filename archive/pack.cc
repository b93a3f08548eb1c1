#include "archive/pack.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <map>
#include <memory>
#include <utility>
#include <vector>

#include "archive/tar_writer.h"
#include "base/fd.h"

namespace drupe::archive {
namespace {

constexpr size_t kCopyBytes = 128 << 10;
constexpr size_t kMaxAttributeBytes = 64 << 10;  // XATTR_LIST_MAX and XATTR_SIZE_MAX
constexpr size_t kMaxKnownLinks = 1 << 20;
constexpr size_t kMaxLinkBytes = 16 << 10;
constexpr mode_t kModeBits = 07777;

struct CloseDirectory {
    void operator()(DIR* directory) const { ::closedir(directory); }
};

bool worth_keeping(std::string_view attribute) {
    return attribute.starts_with("user.") || attribute == "security.capability" ||
           attribute.starts_with("system.posix_acl_");
}

class Packer {
  public:
    explicit Packer(int fd) : tar_(fd), buffer_(kCopyBytes) {}

    Status add(int parent, const char* base, const std::string& name, bool follow) {
        struct stat status {};
        if (::fstatat(parent, base, &status, follow ? 0 : AT_SYMLINK_NOFOLLOW) < 0)
            return os_error("stat " + name);
        Entry entry;
        entry.name = name;
        entry.mode = status.st_mode & kModeBits;
        entry.uid = status.st_uid;
        entry.gid = status.st_gid;
        entry.mtime_s = status.st_mtim.tv_sec;
        entry.mtime_ns = static_cast<uint32_t>(status.st_mtim.tv_nsec);
        if (!S_ISDIR(status.st_mode) && is_known_link(entry, status)) return tar_.add(entry);
        switch (status.st_mode & S_IFMT) {
            case S_IFDIR:
                return add_directory(parent, base, std::move(entry), status, follow);
            case S_IFREG:
                return add_file(parent, base, std::move(entry), follow);
            case S_IFLNK: {
                entry.type = Type::kSymlink;
                TRY_ASSIGN(entry.link, read_link(parent, base, name));
                return tar_.add(entry);
            }
            case S_IFIFO:
                entry.type = Type::kFifo;
                return tar_.add(entry);
            case S_IFCHR:
            case S_IFBLK:
                entry.type = S_ISCHR(status.st_mode) ? Type::kCharDevice : Type::kBlockDevice;
                entry.major = major(status.st_rdev);
                entry.minor = minor(status.st_rdev);
                return tar_.add(entry);
            default:
                return ok();  // a socket: no archive can hold one
        }
    }
    Status finish() { return tar_.finish(); }
    [[nodiscard]] uint64_t bytes() const { return tar_.bytes(); }

  private:
    /// Makes the entry a link if its file was added under another name.
    bool is_known_link(Entry& entry, const struct stat& status) {
        if (status.st_nlink < 2) return false;
        const std::pair key{status.st_dev, status.st_ino};
        const auto known = links_.find(key);
        if (known == links_.end()) {
            if (links_.size() < kMaxKnownLinks) links_.emplace(key, entry.name);
            return false;
        }
        entry.type = Type::kHardLink;
        entry.link = known->second;
        return true;
    }

    static Result<std::string> read_link(int parent, const char* base, const std::string& name) {
        std::string target(kMaxLinkBytes, '\0');
        const ssize_t size = ::readlinkat(parent, base, target.data(), target.size());
        if (size < 0) return os_error("read link " + name);
        target.resize(static_cast<size_t>(size));
        return target;
    }

    static void add_attributes(int fd, Entry& entry) {
        std::string names(kMaxAttributeBytes, '\0');
        const ssize_t size = ::flistxattr(fd, names.data(), names.size());
        if (size <= 0) return;  // a file system without them
        names.resize(static_cast<size_t>(size));
        std::string value(kMaxAttributeBytes, '\0');
        for (size_t at = 0; at < names.size(); at += std::strlen(&names[at]) + 1) {
            const char* attribute = &names[at];
            if (!worth_keeping(attribute)) continue;
            const ssize_t got = ::fgetxattr(fd, attribute, value.data(), value.size());
            if (got >= 0) {
                entry.xattrs.emplace_back(attribute, value.substr(0, static_cast<size_t>(got)));
            }
        }
    }

    static Result<Fd> open_in(int parent, const char* base, const std::string& name, int flags,
                              bool follow) {
        if (!follow) flags |= O_NOFOLLOW;
        Fd fd(::openat(parent, base, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY | flags));
        if (!fd.valid()) return os_error("open " + name);
        return fd;
    }

    Status add_file(int parent, const char* base, Entry entry, bool follow) {
        TRY_ASSIGN(const Fd file, open_in(parent, base, entry.name, 0, follow));
        struct stat status {};
        if (::fstat(file.get(), &status) < 0) return os_error("stat " + entry.name);
        if (!S_ISREG(status.st_mode))
            return Error{ErrorCode::kConflict, entry.name + " changed while it was read", EAGAIN};
        entry.size = static_cast<uint64_t>(status.st_size);
        add_attributes(file.get(), entry);
        TRY(tar_.add(entry));
        // A file that grows meanwhile is written as long as it was.
        for (uint64_t left = entry.size; left != 0;) {
            const ssize_t n =
                ::read(file.get(), buffer_.data(), std::min<uint64_t>(left, buffer_.size()));
            if (n < 0 && errno == EINTR) continue;
            if (n < 0) return os_error("read " + entry.name);
            if (n == 0)
                return Error{ErrorCode::kConflict, entry.name + " shrank while it was read", EIO};
            TRY(tar_.write(std::span(buffer_).first(static_cast<size_t>(n))));
            left -= static_cast<uint64_t>(n);
        }
        return ok();
    }

    Status add_directory(int parent, const char* base, Entry entry, const struct stat& status,
                         bool follow) {
        entry.type = Type::kDirectory;
        TRY_ASSIGN(Fd fd, open_in(parent, base, entry.name, O_DIRECTORY, follow));
        add_attributes(fd.get(), entry);
        TRY(tar_.add(entry));
        if (std::exchange(at_top_, false)) device_ = status.st_dev;
        if (status.st_dev != device_) return ok();  // another file system
        const std::unique_ptr<DIR, CloseDirectory> directory(::fdopendir(fd.get()));
        if (directory == nullptr) return os_error("read directory " + entry.name);
        const int self = fd.release();
        for (;;) {
            errno = 0;
            const dirent* child = ::readdir(directory.get());
            if (child == nullptr && errno != 0) return os_error("read directory " + entry.name);
            if (child == nullptr) return ok();
            const std::string_view child_name = child->d_name;
            if (child_name == "." || child_name == "..") continue;
            Status added = add(self, child->d_name, entry.name + "/" + child->d_name, false);
            // Removed since it was listed: it is as if it had been so before.
            if (!added && added.error().os_errno != ENOENT) return added;
        }
    }

    TarWriter tar_;
    std::vector<std::byte> buffer_;
    std::map<std::pair<dev_t, ino_t>, std::string> links_;
    bool at_top_ = true;
    dev_t device_ = 0;
};

}  // namespace

Result<uint64_t> pack(const std::string& path, const std::string& name, int fd) {
    Packer packer(fd);
    const bool follow = path.ends_with('/') || path.ends_with("/.");
    TRY(packer.add(AT_FDCWD, path.c_str(), name, follow));
    TRY(packer.finish());
    return packer.bytes();
}

}  // namespace drupe::archive
