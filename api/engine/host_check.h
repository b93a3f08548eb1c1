#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "api/engine/paths.h"

namespace drupe::engine {

enum class Health : uint8_t { kGood, kWarning, kBad };

/// One thing that running microVMs depends on.
struct HostCheck {
    std::string name;  ///< "kvm", "cgroup", ...: stable, for scripts.
    Health health = Health::kGood;
    std::string found;   ///< What was seen.
    std::string advice;  ///< What to do about it; empty if it is good.
};

/// Looks at the host and the installation. Makes $DRUPE_ROOT and its parent cgroup.
[[nodiscard]] std::vector<HostCheck> check_host(const Paths& paths);

}  // namespace drupe::engine
