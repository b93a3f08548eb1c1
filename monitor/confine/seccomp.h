#pragma once

#include <cstdint>

#include "base/result.h"

namespace drupe::confine {

/// What a thread of drupe-vmm, or a helper, does, and so which system calls it needs from the
/// moment the guest may run, or before it looks at what a guest wrote.
enum class Role : uint8_t {
    kMain,   ///< The main loop: agent, streams, logs, control socket, vsock, rng; takes disks over.
    kBlock,  ///< The block loop: disks.
    kVcpu,   ///< KVM_RUN and what its exits lead to.
    kReader,  ///< A helper that reads a disk's files and writes what it found to a pipe.
};

/// Puts the calling thread, for good, under its role's allow-list (seccomp_rules.cc). Anything else
/// kills the process (SIGSYS). Sets no_new_privs. Needs no privilege; the thread must have been
/// started already, and may start none afterwards. An error means that the thread isn't confined
/// and must not go on.
[[nodiscard]] Status install(Role role);

}  // namespace drupe::confine
