#pragma once

#include <sys/resource.h>
#include <sys/types.h>

#include <cstdint>
#include <string>
#include <vector>

#include "base/fd.h"
#include "base/result.h"

namespace drupe::confine {

/// A descriptor of ours, and its number in the jail.
struct InheritedFd {
    int from = -1;
    int to = -1;
};

/// Resource limits of the jailed process; soft and hard alike.
struct JailLimits {
    uint64_t open_files = 4096;           ///< RLIMIT_NOFILE
    uint64_t processes = 256;             ///< RLIMIT_NPROC: threads, of the jail's uid.
    uint64_t file_bytes = RLIM_INFINITY;  ///< RLIMIT_FSIZE
    uint64_t locked_bytes = 64 << 10;     ///< RLIMIT_MEMLOCK
    /// RLIMIT_STACK, and so the size of every thread's stack: under 2 MiB no huge page fits into
    /// one.
    uint64_t stack_bytes = 1 << 20;
    uint64_t data_bytes = RLIM_INFINITY;  ///< RLIMIT_DATA: private writable memory.
};

/// A program to run with nothing but what is listed here.
struct JailSpec {
    int executable_fd = -1;         ///< Static, executable for others; need not be in `fds`.
    std::vector<std::string> argv;  ///< At least argv[0].
    std::vector<std::string> env;   ///< "NAME=value".
    /// All descriptors it gets. 0, 1 and 2 must be among the targets: a program without them prints
    /// into whatever file is opened next. Targets are below 1024 and each is there once.
    std::vector<InheritedFd> fds;
    /// Where the program finds its own /proc/PID (O_PATH), although its root has no /proc: a number
    /// that isn't among the targets; -1: nowhere. By it the program reaches all of /proc, as far as
    /// its uid may: to be closed before anything hostile is looked at.
    int own_process_fd = -1;
    uint32_t uid = 0;    ///< On the host and inside; not 0.
    uint32_t gid = 0;    ///< The same.
    int cgroup_fd = -1;  ///< A cgroup v2 directory to start in; -1: the caller's cgroup.
    std::string host_name = "drupe";
    JailLimits limits;
};

struct JailedProcess {
    pid_t pid = -1;  ///< As the caller sees it. A child of the caller's, who reaps it.
    Fd pidfd;
    uint64_t start_ticks = 0;  ///< Field 22 of /proc/PID/stat: tells it from a later process.
};

/// Starts the program and returns when it has been executed:
///  - new user, mount, pid (it is process 1), ipc and uts namespaces; the network namespace is the
///    empty one that all jails of the calling process share. The user namespace maps one uid and
///    one gid, to themselves: there is no root in it, and no further user namespace can be made;
///  - an empty, read-only root without /proc (see own_process_fd); a session and process group of
///  its own;
///  - no supplementary groups, no capability in any set, no_new_privs;
///  - no descriptor, signal disposition, signal mask, environment or umask of the caller's.
/// It outlives the caller. Needs root, and Linux 5.9. Callable from any thread.
///
/// Whatever can't be done is an error that names the step; nothing is left running then. There is
/// no weaker jail to fall back to.
[[nodiscard]] Result<JailedProcess> launch(const JailSpec& spec);

}  // namespace drupe::confine
