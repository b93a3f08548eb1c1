#include "archive/unpack.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cerrno>
#include <memory>
#include <utility>
#include <vector>

#include "archive/tar_reader.h"
#include "base/fd.h"

namespace drupe::archive {
namespace {

constexpr size_t kCopyBytes = 128 << 10;
constexpr mode_t kParentMode = 0755;
constexpr mode_t kUnfinishedMode = 0600;
constexpr mode_t kUnfinishedFolderMode = 0700;
constexpr mode_t kPrivileges = S_ISUID | S_ISGID;
/// Folders get their times at the end, since making their files changes them; of more than this
/// the others don't.
constexpr size_t kMaxPendingBytes = 64 << 20;

using Components = std::vector<std::string>;

Error refused(const std::string& what, int error) {
    return {ErrorCode::kConflict, what, error};
}

Result<Components> split(const std::string& name) {
    Components components;
    for (size_t at = 0; at < name.size();) {
        const size_t end = std::min(name.find('/', at), name.size());
        std::string component = name.substr(at, end - at);
        if (component == "..") {
            return Error{ErrorCode::kCorrupt,
                         "the archive has a name that leads out of the folder: " + name, EPERM};
        }
        if (!component.empty() && component != ".") components.push_back(std::move(component));
        at = end + 1;
    }
    return components;
}

/// What an existing file is, if there is one.
std::optional<mode_t> type_at(int parent, const std::string& base) {
    struct stat status {};
    if (::fstatat(parent, base.c_str(), &status, AT_SYMLINK_NOFOLLOW) < 0) return std::nullopt;
    return status.st_mode & S_IFMT;
}

Status remove_tree(int parent, const std::string& base) {
    if (::unlinkat(parent, base.c_str(), 0) == 0) return ok();
    if (errno != EISDIR && errno != EPERM) return os_error("remove " + base);
    Fd fd(::openat(parent, base.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    if (!fd.valid()) return os_error("open " + base);
    struct Close {
        void operator()(DIR* directory) const { ::closedir(directory); }
    };
    const std::unique_ptr<DIR, Close> directory(::fdopendir(fd.get()));
    if (directory == nullptr) return os_error("read " + base);
    const int self = fd.release();
    while (const dirent* child = ::readdir(directory.get())) {
        const std::string name = child->d_name;
        if (name == "." || name == "..") continue;
        TRY(remove_tree(self, name));
    }
    if (::unlinkat(parent, base.c_str(), AT_REMOVEDIR) < 0) return os_error("remove " + base);
    return ok();
}

class Unpacker {
  public:
    Unpacker(int fd, int folder, const UnpackOptions& options)
        : tar_(fd), folder_(folder), options_(options), buffer_(kCopyBytes) {}

    Result<Unpacked> run() {
        for (;;) {
            TRY_ASSIGN(auto entry, tar_.next());
            if (!entry) break;
            auto made = make(*entry);
            if (!made) return std::move(made).error();
        }
        finish_folders();
        out_.bytes = tar_.bytes();
        return out_;
    }

  private:
    /// A folder whose times are still to be set.
    struct Pending {
        Components path;
        timespec mtime;
    };

    [[nodiscard]] Result<Components> place_of(const std::string& name) const {
        TRY_ASSIGN(Components place, split(name));
        if (!options_.rename_top) return place;
        // "." is the top of an archive of what is in a folder.
        if (!place.empty() && !name.starts_with("./")) place.erase(place.begin());
        TRY_ASSIGN(Components top, split(*options_.rename_top));
        top.insert(top.end(), place.begin(), place.end());
        return top;
    }

    [[nodiscard]] Result<Fd> enter(int parent, const std::string& component) const {
        const int flags = O_PATH | O_DIRECTORY | O_CLOEXEC | (options_.trusted ? 0 : O_NOFOLLOW);
        Fd fd(::openat(parent, component.c_str(), flags));
        if (!fd.valid() && errno == ENOENT) {
            if (::mkdirat(parent, component.c_str(), kParentMode) < 0 && errno != EEXIST)
                return os_error("mkdir " + component);
            if (::fchownat(parent, component.c_str(), options_.uid, options_.gid,
                           AT_SYMLINK_NOFOLLOW) < 0)
                return os_error("chown " + component);
            fd.reset(::openat(parent, component.c_str(), flags));
        }
        if (!fd.valid()) return os_error("open folder " + component);
        return fd;
    }

    /// The folder that the last component of place is in; made if need be. Stays this object's.
    Result<int> parent_of(const Components& place) {
        const Components folders(place.begin(), place.end() - 1);
        if (folders.empty()) return folder_;
        if (parent_.valid() && folders == parent_path_) return parent_.get();
        Fd fd;
        for (const std::string& component : folders) {
            TRY_ASSIGN(Fd next, enter(fd.valid() ? fd.get() : folder_, component));
            fd = std::move(next);
        }
        parent_ = std::move(fd);
        parent_path_ = folders;
        return parent_.get();
    }

    Status make(const Entry& entry) {
        TRY_ASSIGN(const Components place, place_of(entry.name));
        if (place.empty()) return make_folder_itself(entry);
        auto parent = parent_of(place);
        if (!parent) return std::move(parent).error().wrap(entry.name);
        const std::string& base = place.back();
        TRY_ASSIGN(const bool there, clear(parent.value(), base, entry));
        auto made = make_at(parent.value(), base, entry, place, there);
        if (!made) return std::move(made).error().wrap(entry.name);
        return ok();
    }

    Status make_folder_itself(const Entry& entry) {
        if (entry.type != Type::kDirectory)
            return Error{ErrorCode::kCorrupt, "the archive has a file without a name", EINVAL};
        if (!options_.trusted) return ok();
        if (::fchownat(folder_, ".", owner(entry).first, owner(entry).second, 0) < 0)
            return os_error("chown the folder");
        if (::fchmodat(folder_, ".", entry.mode, 0) < 0) return os_error("chmod the folder");
        add_pending({}, entry);
        return ok();
    }

    /// Makes room for the entry; true: a directory is there, and is to be one.
    Result<bool> clear(int parent, const std::string& base, const Entry& entry) {
        const auto type = type_at(parent, base);
        if (!type) return false;
        const bool is_dir = *type == S_IFDIR;
        const bool wants_dir = entry.type == Type::kDirectory;
        if (is_dir && wants_dir) return true;
        if (is_dir != wants_dir && options_.no_overwrite_dir_non_dir) {
            return refused(
                wants_dir ? "cannot overwrite non-directory \"" + entry.name + "\" with directory"
                          : "cannot overwrite directory \"" + entry.name + "\" with non-directory",
                EEXIST);
        }
        TRY(remove_tree(parent, base));
        parent_.reset();
        return false;
    }

    Status make_at(int parent, const std::string& base, const Entry& entry, const Components& place,
                   bool there) {
        const char* name = base.c_str();
        switch (entry.type) {
            case Type::kFile:
                return make_file(parent, base, entry);
            case Type::kHardLink:
                return make_link(parent, base, entry);
            case Type::kDirectory:
                if (!there && ::mkdirat(parent, name, kUnfinishedFolderMode) < 0)
                    return os_error("mkdir");
                add_pending(place, entry);
                return finish_folder(parent, base, entry);
            case Type::kSymlink:
                if (::symlinkat(entry.link.c_str(), parent, name) < 0) return os_error("symlink");
                return finish_node(parent, base, entry);
            case Type::kFifo:
                if (::mkfifoat(parent, name, kUnfinishedMode) < 0) return os_error("mkfifo");
                return finish_node(parent, base, entry);
            case Type::kCharDevice:
            case Type::kBlockDevice:
                if (!options_.trusted) {
                    ++out_.skipped;
                    return ok();
                }
                if (::mknodat(
                        parent, name,
                        (entry.type == Type::kCharDevice ? S_IFCHR : S_IFBLK) | kUnfinishedMode,
                        makedev(entry.major, entry.minor)) < 0)
                    return os_error("mknod");
                return finish_node(parent, base, entry);
        }
        return ok();
    }

    Status make_file(int parent, const std::string& base, const Entry& entry) {
        const Fd file(::openat(parent, base.c_str(),
                               O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC,
                               kUnfinishedMode));
        if (!file.valid()) return os_error("create");
        for (;;) {
            TRY_ASSIGN(const size_t got, tar_.read(buffer_));
            if (got == 0) break;
            TRY(write_all(file.get(), std::span<const std::byte>(buffer_).first(got)));
        }
        return finish_open(file.get(), entry, true);
    }

    /// The target is another entry of the archive: a name in the same folder.
    Status make_link(int parent, const std::string& base, const Entry& entry) {
        TRY_ASSIGN(const Components target, place_of(entry.link));
        if (target.empty()) return refused("a link to the folder itself", EPERM);
        const Fd here(::openat(parent, ".", O_PATH | O_DIRECTORY | O_CLOEXEC));  // outlives parent_
        if (!here.valid()) return os_error("open folder");
        TRY_ASSIGN(const int from, parent_of(target));
        if (::linkat(from, target.back().c_str(), here.get(), base.c_str(), 0) < 0)
            return os_error("link to " + entry.link);
        return ok();
    }

    [[nodiscard]] std::pair<uid_t, gid_t> owner(const Entry& entry) const {
        if (!options_.keep_owner) return {options_.uid, options_.gid};
        return {static_cast<uid_t>(entry.uid), static_cast<gid_t>(entry.gid)};
    }
    [[nodiscard]] mode_t mode_of(const Entry& entry) const {
        return options_.trusted ? entry.mode : entry.mode & ~kPrivileges;
    }

    Status finish_folder(int parent, const std::string& base, const Entry& entry) {
        const Fd fd(
            ::openat(parent, base.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
        if (!fd.valid()) return os_error("open folder");
        return finish_open(fd.get(), entry, false);
    }

    Status finish_open(int fd, const Entry& entry, bool times) {
        const auto [uid, gid] = owner(entry);
        if (::fchown(fd, uid, gid) < 0) return os_error("chown");
        if (::fchmod(fd, mode_of(entry)) < 0) return os_error("chmod");
        for (const auto& [name, value] : entry.xattrs) {
            if (!options_.trusted && !name.starts_with("user.")) continue;
            if (::fsetxattr(fd, name.c_str(), value.data(), value.size(), 0) < 0 &&
                errno != EOPNOTSUPP && errno != EPERM)
                return os_error("set attribute " + name);
        }
        const timespec both[2] = {mtime_of(entry), mtime_of(entry)};
        if (times && ::futimens(fd, both) < 0) return os_error("set times");
        return ok();
    }

    /// What can't be opened, or may not.
    Status finish_node(int parent, const std::string& base, const Entry& entry) {
        const auto [uid, gid] = owner(entry);
        if (::fchownat(parent, base.c_str(), uid, gid, AT_SYMLINK_NOFOLLOW) < 0)
            return os_error("chown");
        // It was made above and is ours: what it could have been swapped for, nobody else may.
        if (entry.type != Type::kSymlink && ::fchmodat(parent, base.c_str(), mode_of(entry), 0) < 0)
            return os_error("chmod");
        set_times(parent, base, mtime_of(entry));
        return ok();
    }

    static timespec mtime_of(const Entry& entry) {
        return {.tv_sec = entry.mtime_s, .tv_nsec = static_cast<long>(entry.mtime_ns)};
    }
    /// Times that a file system can't hold are no reason to stop.
    static void set_times(int parent, const std::string& base, const timespec& mtime) {
        const timespec both[2] = {mtime, mtime};
        (void)::utimensat(parent, base.c_str(), both, AT_SYMLINK_NOFOLLOW);
    }

    void add_pending(const Components& place, const Entry& entry) {
        for (const std::string& component : place)
            pending_bytes_ += component.size() + sizeof(std::string);
        if (pending_bytes_ <= kMaxPendingBytes) pending_.push_back({place, mtime_of(entry)});
    }
    void finish_folders() {
        for (auto it = pending_.rbegin(); it != pending_.rend(); ++it) {
            if (it->path.empty()) {
                set_times(folder_, ".", it->mtime);
            } else if (const auto parent = parent_of(it->path)) {
                set_times(parent.value(), it->path.back(), it->mtime);
            }
        }
    }

    TarReader tar_;
    int folder_;
    const UnpackOptions& options_;
    std::vector<std::byte> buffer_;
    Fd parent_;  // the last entry's, which most often is the next one's
    Components parent_path_;
    std::vector<Pending> pending_;
    size_t pending_bytes_ = 0;
    Unpacked out_;
};

}  // namespace

Result<Unpacked> unpack(int fd, int folder, const UnpackOptions& options) {
    return Unpacker(fd, folder, options).run();
}

}  // namespace drupe::archive
