#pragma once

#include <memory>
#include <string>

#include "api/engine/launcher.h"

namespace drupe::engine {

/// The cgroup below which a root's machines have theirs: "drupe-" and a hash of where the root is,
/// so that no root takes another's machines for its leftovers.
[[nodiscard]] std::string cgroup_parent(const std::string& root);

/// Starts real monitors in monitor/confine's jail, each in a cgroup of its own. idle_memory: they
/// give RAM back while a machine has nothing to do, where the host can do with that.
[[nodiscard]] std::unique_ptr<MonitorLauncher> make_jail_launcher(const std::string& root,
                                                                  bool idle_memory);

}  // namespace drupe::engine
