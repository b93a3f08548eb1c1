#include "guest-init/mounts.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>
#include <climits>

namespace drupe::init {
namespace {

struct Mount {
    const char* type;
    const char* where;
    unsigned long flags;
    const char* options;
    const char* source;
};
constexpr unsigned long kNoPrograms = MS_NOSUID | MS_NODEV | MS_NOEXEC;
constexpr Mount kSys{"sysfs", "/sys", kNoPrograms, "", "sysfs"};
constexpr Mount kDev{"tmpfs", "/dev", MS_NOSUID | MS_STRICTATIME, "mode=755,size=64m", "tmpfs"};
constexpr Mount kInDev[] = {
    {"devpts", "/dev/pts", MS_NOSUID | MS_NOEXEC, "newinstance,ptmxmode=0666,mode=0620,gid=5",
     "devpts"},
    {"mqueue", "/dev/mqueue", kNoPrograms, "", "mqueue"},
    {"tmpfs", "/dev/shm", kNoPrograms, "mode=1777,size=64m", "shm"},
};

struct Node {
    const char* path;
    unsigned minor;
    unsigned major;
};
constexpr Node kNodes[] = {{"/dev/null", 3, 1},   {"/dev/zero", 5, 1},    {"/dev/full", 7, 1},
                           {"/dev/random", 8, 1}, {"/dev/urandom", 9, 1}, {"/dev/tty", 0, 5}};
struct Link {
    const char* path;
    const char* target;
};
constexpr Link kLinks[] = {{"/dev/fd", "/proc/self/fd"},       {"/dev/stdin", "/proc/self/fd/0"},
                           {"/dev/stdout", "/proc/self/fd/1"}, {"/dev/stderr", "/proc/self/fd/2"},
                           {"/dev/core", "/proc/kcore"},       {"/dev/ptmx", "pts/ptmx"}};
constexpr off_t kFirstBlocksBytes = 64 << 10;
constexpr const char* kDirectories[] = {"/proc", "/sys", "/dev", "/tmp", "/etc"};
constexpr const char* kFiles[] = {"/etc/hosts", "/etc/hostname", "/etc/resolv.conf"};

/// Below `root`: "" is the root.
Status mount_one(const Mount& m, const std::string& root = "") {
    if (::mount(m.source, (root + m.where).c_str(), m.type, m.flags, m.options) < 0)
        return os_error(std::string("mount ") + m.type + " at " + m.where);
    return ok();
}

/// "vda" is the first slot's.
std::string disk_name(const protocol::Root& order) {
    return std::string("vd") + static_cast<char>('a' + order.disk);
}

bool wait_for_size(int disk) {
    constexpr timespec kPause{.tv_sec = 0, .tv_nsec = 200'000};
    constexpr int kTries = 10'000;  // 2 s and more
    for (int i = 0; i < kTries; ++i) {
        uint64_t bytes = 0;
        if (::ioctl(disk, BLKGETSIZE64, &bytes) == 0 && bytes != 0) return true;
        (void)::nanosleep(&kPause, nullptr);
    }
    return false;
}

bool has_mount_points() {
    for (const char* path : kDirectories)
        if (::access(path, F_OK) < 0) return false;
    for (const char* path : kFiles)
        if (::access(path, F_OK) < 0) return false;
    return true;
}

/// Called with the new root as the process's root.
Status make_mount_points(bool read_only) {
    if (has_mount_points()) return ok();
    // A disk that can't be written goes without; what is needed fails later, with its name.
    if (read_only && ::mount(nullptr, "/", nullptr, MS_REMOUNT | MS_NOATIME, nullptr) < 0)
        return ok();
    for (const char* path : kDirectories)
        if (::mkdir(path, 0755) == 0 && std::string(path) == "/tmp") (void)::chmod(path, 01777);
    for (const char* path : kFiles) (void)make_file(path);  // a link into /proc, say, can't be
    if (read_only &&
        ::mount(nullptr, "/", nullptr, MS_REMOUNT | MS_NOATIME | MS_RDONLY, nullptr) < 0)
        return os_error("remount the root read-only");
    return ok();
}

Status make_devices(const std::string& root) {
    const mode_t mask = ::umask(0);
    Status status = ok();
    for (const Mount& mount : kInDev)
        if (::mkdir((root + mount.where).c_str(), 0755) < 0) status = os_error(mount.where);
    for (const Node& node : kNodes)
        if (::mknod((root + node.path).c_str(), S_IFCHR | 0666, makedev(node.major, node.minor)) <
            0)
            status = os_error(node.path);
    for (const Link& link : kLinks)
        if (::symlink(link.target, (root + link.path).c_str()) < 0) status = os_error(link.path);
    ::umask(mask);
    return status;
}

/// A mount, to be put where it belongs once that is there.
Result<Fd> take_mount(const std::string& path) {
    Fd mount(::open_tree(AT_FDCWD, path.c_str(), OPEN_TREE_CLOEXEC));
    if (!mount.valid()) return os_error("open the mount at " + path);
    return mount;
}

Status put_mount(const Fd& mount, const char* path) {
    if (::move_mount(mount.get(), "", AT_FDCWD, path, MOVE_MOUNT_F_EMPTY_PATH) < 0)
        return os_error(std::string("mount ") + path);
    return ok();
}

}  // namespace

Status prepare_disks() {
    if (::access("/dev/vda", F_OK) < 0 &&
        ::mount("devtmpfs", "/dev", "devtmpfs", MS_NOSUID, "mode=0755") < 0)
        return os_error("mount devtmpfs");
    // A request costs a machine more than the bytes that it reads too much. Any other kernel's own
    // choice will do.
    TRY_ASSIGN(const Fd sys, mount_for_this_process("sysfs"));
    const Fd read_ahead(::openat(sys.get(), "block/vda/queue/read_ahead_kb", O_WRONLY | O_CLOEXEC));
    [[maybe_unused]] const ssize_t ignored = ::write(read_ahead.get(), "512", 3);
    return ok();
}

Status mount_disk(const protocol::Root& order, const std::string& where) {
    const std::string device = "/dev/" + disk_name(order);
    if (order.disk >= 26) return Error{ErrorCode::kInvalid, "no such disk slot", EINVAL};
    TRY_ASSIGN(const Fd disk, open_file(device, O_RDONLY));
    if (!wait_for_size(disk.get()))
        return Error{ErrorCode::kIo, device + " has no capacity", ENXIO};
    // The superblock and the group descriptors, which ext4 asks for one by one. They are kept as
    // long as the device is open.
    (void)::posix_fadvise(disk.get(), 0, kFirstBlocksBytes, POSIX_FADV_WILLNEED);
    unsigned long flags = MS_NOATIME;
    if (order.read_only) flags |= MS_RDONLY;
    // A disk's block bitmaps are read when they are needed: all of them (in the background, since
    // Linux 5.13) and what is made of them would be megabytes of each machine's own memory. Where
    // space is limited the host has to hear which blocks are free again.
    const char* const rest = order.reserved_bytes != 0 ? "discard" : "";
    const std::string options = std::string("no_prefetch_block_bitmaps,") + rest;
    int done = ::mount(device.c_str(), where.c_str(), "ext4", flags, options.c_str());
    if (done < 0 && errno == EINVAL)  // an older kernel, which doesn't read them
        done = ::mount(device.c_str(), where.c_str(), "ext4", flags, rest);
    if (done < 0) return os_error("mount " + device + " as ext4");
    return ok();
}

Result<PreparedMounts> prepare_mounts(const std::string& where) {
    for (const char* path : {"/sys", "/dev"})
        if (::mkdir((where + path).c_str(), 0755) < 0 && errno != EEXIST)
            return os_error("mkdir " + where + path);
    TRY(mount_one(kSys, where));
    TRY(mount_one(kDev, where));
    TRY(make_devices(where));
    for (const Mount& mount : kInDev) {
        TRY(mount_one(mount, where));
    }
    return take_mounts(where);
}

Result<PreparedMounts> take_mounts(const std::string& where) {
    PreparedMounts mounts;
    TRY_ASSIGN(mounts.sys, take_mount(where + "/sys"));
    TRY_ASSIGN(mounts.dev, take_mount(where + "/dev"));
    return mounts;
}

Status enter_root(const std::string& root, bool read_only, const PreparedMounts& mounts) {
    // The old root can't be pivoted away when it is the initramfs: cover it and leave.
    if (::chdir(root.c_str()) < 0 || ::mount(".", "/", nullptr, MS_MOVE, nullptr) < 0 ||
        ::chroot(".") < 0 || ::chdir("/") < 0)
        return os_error("make " + root + " the root");
    TRY(make_mount_points(read_only));
    TRY(put_mount(mounts.sys, "/sys"));
    TRY(put_mount(mounts.dev, "/dev"));
    if (read_only) {
        TRY(mount_one({"tmpfs", "/tmp", MS_NOSUID | MS_NODEV, "mode=1777", "tmpfs"}));
    }
    return ok();
}

Status limit_root(const protocol::Root& order) {
    struct statfs root {};
    if (::statfs("/", &root) < 0) return os_error("statfs /");
    const std::string clusters =
        std::to_string(order.reserved_bytes / static_cast<uint64_t>(root.f_bsize));
    const std::string path = "/sys/fs/ext4/" + disk_name(order) + "/reserved_clusters";
    TRY_ASSIGN(const Fd file, open_file(path, O_WRONLY));
    TRY(write_all(file.get(), std::as_bytes(std::span(clusters))));
    return mount_one(
        {"tmpfs", "/sys/fs/ext4", kNoPrograms | MS_RDONLY, "mode=555,size=4k", "tmpfs"});
}

Status mount_for_workload() {
    TRY(mount_one({"proc", "/proc", kNoPrograms, "", "proc"}));
    // A kernel without cgroups in sysfs (its own choice) lacks the mount point.
    if (::access("/sys/fs/cgroup", F_OK) < 0) return ok();
    return mount_one({"cgroup2", "/sys/fs/cgroup", kNoPrograms, "", "cgroup2"});
}

Result<Fd> mount_for_this_process(const char* type) {
    const Fd context(::fsopen(type, FSOPEN_CLOEXEC));
    if (!context.valid() || ::fsconfig(context.get(), FSCONFIG_CMD_CREATE, nullptr, nullptr, 0) < 0)
        return os_error(std::string("make file system ") + type);
    Fd mount(::fsmount(context.get(), FSMOUNT_CLOEXEC, 0));
    if (!mount.valid()) return os_error(std::string("mount file system ") + type);
    return mount;
}

void flush_root() {
    ::sync();
    (void)::mount(nullptr, "/", nullptr, MS_REMOUNT | MS_RDONLY, nullptr);
}

Status freeze_root() {
    TRY_ASSIGN(const Fd root, open_file("/", O_RDONLY | O_DIRECTORY));
    if (::ioctl(root.get(), FIFREEZE, 0) < 0) return os_error("freeze the root");
    return ok();
}

Status thaw_root() {
    TRY_ASSIGN(const Fd root, open_file("/", O_RDONLY | O_DIRECTORY));
    if (::ioctl(root.get(), FITHAW, 0) < 0) return os_error("thaw the root");
    return ok();
}

bool make_file(const char* path) {
    for (int attempt = 0; attempt < 2; ++attempt) {
        const Fd fd(::open(path, O_RDONLY | O_CREAT | O_CLOEXEC | O_NONBLOCK, 0644));
        if (fd.valid()) return true;
        if (errno != ENOENT) return ::access(path, F_OK) == 0;
        char target[PATH_MAX];
        const ssize_t size = ::readlink(path, target, sizeof target);
        if (size <= 0) return false;
        std::string directory(target, static_cast<size_t>(size));
        if (directory[0] != '/') directory.insert(0, "/etc/");
        directory.resize(directory.rfind('/'));
        if (!directory.empty() && !make_directories(directory, 0755)) return false;
    }
    return false;
}

Status make_directories(const std::string& path, mode_t mode) {
    for (size_t at = path.find('/', 1);; at = path.find('/', at + 1)) {
        const std::string part = path.substr(0, at);
        if (::mkdir(part.c_str(), mode) < 0 && errno != EEXIST && errno != EROFS)
            return os_error("mkdir " + part);
        if (at == std::string::npos) return ok();
    }
}

}  // namespace drupe::init
