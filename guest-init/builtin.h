#pragma once

#include "guest-init/protocol.h"

namespace drupe::init {

/// Carries a builtin out on descriptors 0 to 2, in the root that this process has. Ends it.
/// cgroup: the directory of the container's.
[[noreturn]] void run_builtin(const protocol::Start& order, int cgroup);

}  // namespace drupe::init
