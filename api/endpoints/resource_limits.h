#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>

#include "base/result.h"

namespace drupe::endpoints {

/// What a HostConfig, or the body of an update, says of memory, CPUs and processes. Unset: nothing
/// (0 is nothing, too).
struct ResourceLimits {
    std::optional<uint64_t> memory_bytes;
    std::optional<uint64_t> nano_cpus;   ///< NanoCpus, or CpuQuota by CpuPeriod; 0: no limit.
    std::optional<uint64_t> pids_limit;  ///< 0: no limit.
};

/// By dockerd's rules, and in its words. kInvalid names the member.
[[nodiscard]] Result<ResourceLimits> parse_resource_limits(const nlohmann::json& resources);

}  // namespace drupe::endpoints
