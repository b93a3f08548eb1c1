#pragma once

#include <sys/types.h>

#include "base/fd.h"
#include "base/result.h"
#include "guest-init/cgroup.h"
#include "guest-init/protocol.h"

namespace drupe::init {

/// What a new process is started into.
struct SpawnPlace {
    const Cgroup* cgroup = nullptr;
    /// An exec: joins this process's mount and cgroup namespaces. -1: the workload itself.
    int join_pidfd = -1;
};

/// A running process and our ends of its standard streams.
struct Spawned {
    pid_t pid = 0;
    Fd input;   ///< Non-blocking; invalid when it reads from /dev/null.
    Fd output;  ///< Non-blocking. With a tty: its master, and input is a duplicate of it.
    Fd error;   ///< Invalid with a tty.
};

/// Starts order's program and returns once it has been executed. The workload becomes PID 1 of a
/// new PID namespace, which all later processes of this caller are in too: once in a lifetime. The
/// error's os_errno and text are the answer's.
[[nodiscard]] Result<Spawned> spawn(const protocol::Start& order, const SpawnPlace& place);

}  // namespace drupe::init
