#include "guest-init/workload_mounts.h"

#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "base/fd.h"
#include "guest-init/mounts.h"

namespace drupe::init {
namespace {

Error failed(std::string what, int error) {
    return Error{ErrorCode::kInvalid, std::move(what) + ": " + std::strerror(error), EINVAL};
}

Status resize_shm(uint64_t bytes) {
    const std::string options = "mode=1777,size=" + std::to_string(bytes);
    if (::mount("shm", "/dev/shm", "tmpfs", MS_REMOUNT | MS_NOSUID | MS_NODEV | MS_NOEXEC,
                options.c_str()) < 0)
        return failed("give /dev/shm " + std::to_string(bytes) + " bytes", errno);
    return ok();
}

bool has_mode(const std::string& options) {
    return options.starts_with("mode=") || options.find(",mode=") != std::string::npos;
}

Status mount_tmpfs(const protocol::TmpfsMount& mount) {
    struct stat before {};
    const bool was_there = ::stat(mount.path.c_str(), &before) == 0;
    if (auto made = make_directories(mount.path, 0755); !made)
        return failed("make the directory of tmpfs " + mount.path, made.error().os_errno);
    // Read-only last: its mode is set before.
    if (::mount("tmpfs", mount.path.c_str(), "tmpfs", mount.flags & ~uint64_t{MS_RDONLY},
                mount.options.c_str()) < 0)
        return failed("mount tmpfs " + mount.path + " (" + mount.options + ")", errno);
    if (was_there && !has_mode(mount.options)) (void)::chmod(mount.path.c_str(), before.st_mode);
    if ((mount.flags & MS_RDONLY) != 0 && ::mount(nullptr, mount.path.c_str(), nullptr,
                                                  mount.flags | MS_REMOUNT | MS_BIND, nullptr) < 0)
        return failed("make tmpfs " + mount.path + " read-only", errno);
    return ok();
}

Status set_sysctl(const std::string& sysctl) {
    const size_t equals = sysctl.find('=');
    const std::string name = sysctl.substr(0, equals);
    const Fd file(::open(("/proc/sys/" + name).c_str(), O_WRONLY | O_CLOEXEC | O_NOFOLLOW));
    if (!file.valid() && errno == ENOENT)
        return Error{ErrorCode::kInvalid, "sysctl " + name + ": the guest's kernel has none",
                     EINVAL};
    const std::string value = equals == std::string::npos ? "" : sysctl.substr(equals + 1);
    if (!file.valid() || ::write(file.get(), value.data(), value.size()) < 0)
        return failed("set sysctl " + name + " to '" + value + "'", errno);
    return ok();
}

}  // namespace

Status set_up_workload(const protocol::Start& order) {
    if (order.shm_bytes != 0) {
        TRY(resize_shm(order.shm_bytes));
    }
    for (const protocol::TmpfsMount& mount : order.tmpfs) {
        TRY(mount_tmpfs(mount));
    }
    for (const std::string& sysctl : order.sysctls) {
        TRY(set_sysctl(sysctl));
    }
    return ok();
}

}  // namespace drupe::init
