#pragma once

#include "base/result.h"
#include "guest-init/protocol.h"

namespace drupe::init {

/// What the order asks of the workload's file systems and kernel: the size of /dev/shm, its tmpfs
/// mounts, its sysctls. In the workload's mount namespace, with /proc mounted. The error names
/// what couldn't be done; its os_errno is EINVAL, since no program was missing.
[[nodiscard]] Status set_up_workload(const protocol::Start& order);

}  // namespace drupe::init
