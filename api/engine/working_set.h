#pragma once

#include <sys/types.h>

#include "base/fd.h"
#include "base/result.h"
#include "vmm/snapshot/working_set.h"

namespace drupe::engine {

/// Which pages of a memory file, that a monitor has mapped, its machine has touched up to now: by
/// /proc/PID/maps and pagemap. kNotFound: there is no such process, or it hasn't mapped the file. A
/// monitor that its guest has taken over may have it say anything, as a WorkingSet may.
[[nodiscard]] Result<WorkingSet> working_set_of(pid_t monitor, int memory_fd);

/// A file of its own for a machine to read it from (MonitorConfig::working_set_fd).
[[nodiscard]] Result<Fd> make_file(const WorkingSet& set);

}  // namespace drupe::engine
