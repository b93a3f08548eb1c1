#pragma once

#include <cstdint>
#include <string>

#include "base/fd.h"
#include "base/result.h"
#include "guest-init/protocol.h"

namespace drupe::init {

/// Waits for the virtio-blk slot to have a size (its capacity was set before the order, but the
/// driver's interrupt may still be on its way; at most 2 s) and mounts it at `where` as ext4.
/// Mounts devtmpfs at /dev first, if it isn't there.
[[nodiscard]] Status mount_disk(const protocol::Root& order, const std::string& where);

/// Makes the directory `root`, a mount point, the root of this mount namespace and of this process:
/// with /sys, /dev (the standard nodes, pts, shm, mqueue) and /tmp. /proc and /sys/fs/cgroup show
/// the namespaces of whoever mounts them: mount_for_workload(). A read-only root lacks no mount
/// point either if the disk itself can be written.
[[nodiscard]] Status enter_root(const std::string& root, bool read_only);

/// Keeps reserved_bytes of the root's file system free, for good: ext4's reserve, which not even
/// root may use. Then covers /sys/fs/ext4, where it could be changed. The file system is the one
/// that mount_disk() mounted, and the root by now.
[[nodiscard]] Status limit_root(const protocol::Root& order);

/// /proc and the cgroups, in the mount, PID and cgroup namespaces of the calling process.
[[nodiscard]] Status mount_for_workload();

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
