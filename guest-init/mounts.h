#pragma once

#include <cstdint>
#include <string>

#include "base/fd.h"
#include "base/result.h"
#include "guest-init/protocol.h"

namespace drupe::init {

/// Mounts devtmpfs at /dev, if it isn't there.
[[nodiscard]] Status prepare_disks();

/// Waits for the virtio-blk slot to have a size (its capacity was set before the order, but the
/// driver's interrupt may still be on its way; at most 2 s) and mounts it at `where` as ext4.
[[nodiscard]] Status mount_disk(const protocol::Root& order, const std::string& where);

/// Mounts that are to be a root's /sys and /dev: the same for every disk.
struct PreparedMounts {
    Fd sys;
    Fd dev;  ///< With the standard nodes, pts, shm and mqueue.
};
/// Makes them in the directory `where`, which can be written.
[[nodiscard]] Result<PreparedMounts> prepare_mounts(const std::string& where);

/// The same ones, seen from another mount namespace.
[[nodiscard]] Result<PreparedMounts> take_mounts(const std::string& where);

/// Makes the directory `root`, a mount point, the root of this mount namespace and of this process:
/// with the prepared mounts and /tmp. /proc and /sys/fs/cgroup show
/// the namespaces of whoever mounts them: mount_for_workload(). A read-only root lacks no mount
/// point either if the disk itself can be written.
[[nodiscard]] Status enter_root(const std::string& root, bool read_only,
                                const PreparedMounts& mounts);

/// Keeps reserved_bytes of the root's file system free, for good: ext4's reserve, which not even
/// root may use. Then covers /sys/fs/ext4, where it could be changed. The file system is the one
/// that mount_disk() mounted, and the root by now.
[[nodiscard]] Status limit_root(const protocol::Root& order);

/// /proc and the cgroups, in the mount, PID and cgroup namespaces of the calling process.
[[nodiscard]] Status mount_for_workload();

/// A file system of that type, mounted for this process alone.
[[nodiscard]] Result<Fd> mount_for_this_process(const char* type);

/// Writes everything out and leaves the root's file system clean: remounts it read-only.
void flush_root();

/// Makes the root's file system write everything out and refuse further writes, until thaw_root().
[[nodiscard]] Status freeze_root();
[[nodiscard]] Status thaw_root();

/// Whether there is a file at path now: made empty if missing, also behind a link that leads
/// nowhere.
[[nodiscard]] bool make_file(const char* path);
/// mkdir -p; existing directories are fine.
[[nodiscard]] Status make_directories(const std::string& path, mode_t mode);

}  // namespace drupe::init
