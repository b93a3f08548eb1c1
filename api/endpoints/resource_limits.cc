#include "api/endpoints/resource_limits.h"

#include "base/json_reader.h"

namespace drupe::endpoints {
namespace {

constexpr int64_t kNanoPerCpu = 1'000'000'000;
constexpr int64_t kDefaultPeriodUs = 100'000;
constexpr int64_t kShortestUs = 1'000;
constexpr int64_t kLongestPeriodUs = 1'000'000;
constexpr int64_t kMaxCpus = 1024;  ///< Keeps what follows in 64 bits; a machine has fewer.

Error invalid(const char* message) {
    return Error{ErrorCode::kInvalid, message};
}

/// What a quota and a period come to.
Result<std::optional<uint64_t>> cpus_of(int64_t quota, int64_t period) {
    if (period != 0 && (period < kShortestUs || period > kLongestPeriodUs)) {
        return invalid(
            "CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000): "
            "CpuPeriod");
    }
    if (quota > 0 && quota < kShortestUs) {
        return invalid("CPU cfs quota can not be less than 1ms (i.e. 1000): CpuQuota");
    }
    if (quota <= 0) {
        if (period == 0 && quota == 0) return std::optional<uint64_t>();
        if (period == 0) return std::optional<uint64_t>(0);
        return invalid(
            "CpuPeriod (--cpu-period) is no limit without CpuQuota (--cpu-quota), and isn't kept: "
            "set both, or --cpus");
    }
    if (period == 0) period = kDefaultPeriodUs;
    if (quota > period * kMaxCpus) return invalid("CpuQuota is out of range: up to 32 CPUs");
    return std::optional(static_cast<uint64_t>(quota * kNanoPerCpu / period));
}

}  // namespace

Result<ResourceLimits> parse_resource_limits(const nlohmann::json& resources) {
    int64_t memory = 0;
    int64_t nano_cpus = 0;
    int64_t quota = 0;
    int64_t period = 0;
    int64_t pids = 0;
    JsonReader in(resources);
    in.get("Memory", memory);
    in.get("NanoCpus", nano_cpus);
    in.get("CpuQuota", quota);
    in.get("CpuPeriod", period);
    in.get("PidsLimit", pids);
    TRY(in.status());
    if (memory < 0) return invalid("Memory: negative");
    if (nano_cpus < 0) return invalid("NanoCpus: negative");
    if (nano_cpus > 0 && period > 0) {
        return invalid("Conflicting options: Nano CPUs and CPU Period cannot both be set");
    }
    if (nano_cpus > 0 && quota > 0) {
        return invalid("Conflicting options: Nano CPUs and CPU Quota cannot both be set");
    }
    ResourceLimits limits;
    TRY_ASSIGN(limits.nano_cpus, cpus_of(quota, period));
    if (memory > 0) limits.memory_bytes = static_cast<uint64_t>(memory);
    if (nano_cpus > 0) limits.nano_cpus = static_cast<uint64_t>(nano_cpus);
    if (pids != 0) limits.pids_limit = pids > 0 ? static_cast<uint64_t>(pids) : 0;
    return limits;
}

}  // namespace drupe::endpoints
