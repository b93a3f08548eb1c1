#include "api/endpoints/refused_options.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <string>
#include <vector>

#include "base/json_reader.h"

namespace drupe::endpoints {
namespace {

using nlohmann::json;

/// Whether an option says nothing: null, false, 0 or empty.
bool says_nothing(const json& value) {
    if (value.is_null()) return true;
    if (value.is_boolean()) return !value.get<bool>();
    if (value.is_number()) return value == 0;
    if (value.is_string()) return value.get_ref<const std::string&>().empty();
    return value.empty();
}

struct Refused {
    std::string_view name;
    std::string_view why;
};

constexpr std::string_view kMounts = "mounts from the host and volumes aren't there yet";
constexpr std::string_view kNetwork = "networks that carry packets aren't there yet";
constexpr std::string_view kDevices = "a microVM has no devices of the host's";
constexpr std::string_view kShares = "only --memory, --cpus and --pids-limit divide resources";
constexpr std::string_view kMasks = "the guest's kernel is the container's own";
constexpr std::string_view kSetuid =
    "setuid programs work in a guest as ever; --cap-drop bounds what they gain";

/// Members of HostConfig that have to say nothing.
constexpr std::array kRefused{
    Refused{"Binds", kMounts},
    Refused{"Mounts", kMounts},
    Refused{"VolumesFrom", kMounts},
    Refused{"VolumeDriver", kMounts},
    Refused{"PortBindings", kNetwork},
    Refused{"PublishAllPorts", kNetwork},
    Refused{"Links", kNetwork},
    Refused{"Devices", kDevices},
    Refused{"DeviceRequests", kDevices},
    Refused{"DeviceCgroupRules", kDevices},
    Refused{"CgroupParent", "each machine has a cgroup of Drupe's"},
    Refused{"Cgroup", "each machine has a cgroup of Drupe's"},
    Refused{"CpuShares", kShares},
    Refused{"CpuRealtimePeriod", kShares},
    Refused{"CpuRealtimeRuntime", kShares},
    Refused{"CpusetCpus", kShares},
    Refused{"CpusetMems", kShares},
    Refused{"CpuCount", kShares},
    Refused{"CpuPercent", kShares},
    Refused{"BlkioWeight", kShares},
    Refused{"BlkioWeightDevice", kShares},
    Refused{"BlkioDeviceReadBps", kShares},
    Refused{"BlkioDeviceWriteBps", kShares},
    Refused{"BlkioDeviceReadIOps", kShares},
    Refused{"BlkioDeviceWriteIOps", kShares},
    Refused{"IOMaximumIOps", kShares},
    Refused{"IOMaximumBandwidth", kShares},
    Refused{"MemoryReservation", kShares},
    Refused{"KernelMemory", kShares},
    Refused{"KernelMemoryTCP", kShares},
    Refused{"OomKillDisable", "a guest that is out of memory has to kill something"},
    Refused{"OomScoreAdj", "the guest's kernel decides what it kills"},
    Refused{"MaskedPaths", kMasks},
    Refused{"ReadonlyPaths", kMasks},
    Refused{"Annotations", "nobody reads them"},
};

/// Members that may have these values alone, beside nothing.
struct Allowed {
    std::string_view name;
    std::vector<std::string_view> values;
    std::string_view why;
};

const std::vector<Allowed>& allowed() {
    static const std::vector<Allowed> list{
        {"IpcMode", {"private", "shareable", "none"}, "each container is a machine of its own"},
        {"PidMode", {"private"}, "each container is a machine of its own"},
        {"UTSMode", {}, "each container is a machine of its own"},
        {"UsernsMode", {"host"}, "each container is a machine of its own"},
        {"CgroupnsMode", {"private"}, "each container is a machine of its own"},
        {"Isolation", {"default"}, "each container is a machine of its own"},
    };
    return list;
}

Error refused(std::string_view name, std::string_view why) {
    return Error{ErrorCode::kUnsupported, fmt::format("option {} is not supported: {}", name, why)};
}

/// seccomp and LSM profiles keep a container from the kernel that it shares; ours shares none.
Status refuse_security(const json& host) {
    const auto found = host.find("SecurityOpt");
    if (found == host.end() || says_nothing(*found)) return ok();
    constexpr std::array<std::string_view, 10> kTrueAnyway{
        "seccomp=unconfined",     "apparmor=unconfined", "label=disable",
        "label:disable",          "seccomp:unconfined",  "apparmor:unconfined",
        "systempaths=unconfined", "seccomp=builtin",     "no-new-privileges=false",
        "no-new-privileges:false"};
    if (!found->is_array()) return Error{ErrorCode::kInvalid, "SecurityOpt: a list is expected"};
    for (const json& option : *found) {
        if (!option.is_string()) return Error{ErrorCode::kInvalid, "SecurityOpt: text is expected"};
        const auto& text = option.get_ref<const std::string&>();
        if (std::find(kTrueAnyway.begin(), kTrueAnyway.end(), text) == kTrueAnyway.end()) {
            const bool setuid = text.starts_with("no-new-privileges");
            return refused("SecurityOpt (--security-opt " + text.substr(0, 64) + ")",
                           setuid ? kSetuid : kMasks);
        }
    }
    return ok();
}

/// MemorySwap bounds memory and swap together. A guest has no swap: any bound is kept. -1 is no
/// bound, and of MemorySwappiness what clients send when nothing is asked for.
Status refuse_swap(const json& host) {
    constexpr int64_t kUnset = -1;
    int64_t swap = 0;
    int64_t memory = 0;
    int64_t swappiness = 0;
    JsonReader in(host);
    in.get("MemorySwap", swap);
    in.get("Memory", memory);
    in.get("MemorySwappiness", swappiness);
    TRY(in.status());
    if (swap != 0 && swap != kUnset) {
        if (memory <= 0) {
            return Error{ErrorCode::kInvalid,
                         "You should always set the Memory limit when using Memoryswap limit"};
        }
        if (swap < memory) {
            return Error{ErrorCode::kInvalid,
                         "Minimum memoryswap limit should be larger than "
                         "memory limit"};
        }
    }
    if (swappiness != 0 && swappiness != kUnset) {
        return refused("MemorySwappiness", "a guest has no swap");
    }
    return ok();
}

/// There is one runtime; Docker's default one's names mean it, too.
Status check_runtime(const json& host) {
    std::string runtime;
    JsonReader in(host);
    in.get("Runtime", runtime);
    TRY(in.status());
    constexpr std::array<std::string_view, 4> kNames{"", "drupe", "runc", "io.containerd.runc.v2"};
    if (std::find(kNames.begin(), kNames.end(), runtime) != kNames.end()) return ok();
    return Error{ErrorCode::kInvalid, "unknown or invalid runtime name: " + runtime.substr(0, 64)};
}

Status refuse_network(const json& host) {
    const auto mode = host.find("NetworkMode");
    if (mode == host.end() || says_nothing(*mode)) return ok();
    if (!mode->is_string()) return Error{ErrorCode::kInvalid, "NetworkMode: text is expected"};
    const auto& text = mode->get_ref<const std::string&>();
    if (text == "host" || text.starts_with("container:")) {
        return refused("NetworkMode (--network " + text.substr(0, 64) + ")",
                       "each container is a machine of its own");
    }
    return ok();
}

}  // namespace

Error not_yet(std::string_view what) {
    return Error{ErrorCode::kUnsupported, fmt::format("{}: not supported yet", what)};
}

Status refuse_options(const json& host) {
    for (const Refused& option : kRefused) {
        const auto found = host.find(option.name);
        if (found != host.end() && !says_nothing(*found)) return refused(option.name, option.why);
    }
    for (const Allowed& option : allowed()) {
        const auto found = host.find(option.name);
        if (found == host.end() || says_nothing(*found)) continue;
        if (!found->is_string()) {
            return Error{ErrorCode::kInvalid, fmt::format("{}: text is expected", option.name)};
        }
        const auto& text = found->get_ref<const std::string&>();
        if (std::find(option.values.begin(), option.values.end(), text) == option.values.end()) {
            return refused(fmt::format("{} ({})", option.name, text.substr(0, 64)), option.why);
        }
    }
    TRY(refuse_security(host));
    TRY(refuse_swap(host));
    TRY(check_runtime(host));
    return refuse_network(host);
}

Status refuse_config(const json& body) {
    const auto mac = body.find("MacAddress");
    if (mac != body.end() && !says_nothing(*mac)) return refused("MacAddress", kNetwork);
    return ok();
}

Status refuse_networking(const json& networking) {
    const auto endpoints = networking.find("EndpointsConfig");
    if (endpoints == networking.end() || endpoints->is_null()) return ok();
    if (!endpoints->is_object()) {
        return Error{ErrorCode::kInvalid, "EndpointsConfig: an object is expected"};
    }
    for (const auto& [network, endpoint] : endpoints->items()) {
        if (endpoint.is_null()) continue;
        if (!endpoint.is_object()) {
            return Error{ErrorCode::kInvalid, "EndpointsConfig: an object is expected"};
        }
        for (const char* name :
             {"IPAMConfig", "MacAddress", "Links", "DriverOpts", "GwPriority", "IPAddress"}) {
            const auto found = endpoint.find(name);
            if (found != endpoint.end() && !says_nothing(*found)) return refused(name, kNetwork);
        }
    }
    return ok();
}

}  // namespace drupe::endpoints
