#pragma once

#include <string>

#include "guest-init/cgroup.h"

namespace drupe::init {

/// In a machine that stands by: does what a container's start does, in a child with namespaces of
/// its own, on a root that holds nothing but this program. What it takes of the kernel's memory and
/// of this process's is then in the machine's own pages, instead of being fetched while somebody
/// waits. Leaves nothing behind; whatever fails is no matter. Returns at once; the child is to be
/// reaped. base: as Platform's, prepared.
void rehearse(const std::string& base, const Cgroup& cgroup);

/// What this program is told when it is the workload of a rehearsal.
inline constexpr const char* kRehearsed = "--rehearsed";

}  // namespace drupe::init
