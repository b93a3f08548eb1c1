#include "cli/unsupported.h"

#include <algorithm>
#include <array>

namespace drupe::cli {
namespace {

constexpr std::string_view kMounts =
    "mounts from the host and volumes aren't there yet: copy with drupe cp, or through standard "
    "input and output";
constexpr std::string_view kNetwork =
    "networks that carry packets aren't there yet: talk to it through its standard streams and "
    "drupe exec";
constexpr std::string_view kDevices =
    "a microVM has no devices of the host's: what needs one has to run on the host";
constexpr std::string_view kShares =
    "what divides resources is --memory, --cpus and --pids-limit: use those";
constexpr std::string_view kMachine = "each container is a machine of its own: leave it out";
constexpr std::string_view kSecurity =
    "a container's kernel is its own: leave it out, or take rights away with --cap-drop";

constexpr std::array kOptions{
    Unsupported{"-v,--volume", kMounts},
    Unsupported{"--mount", kMounts},
    Unsupported{"--volumes-from", kMounts},
    Unsupported{"--volume-driver", kMounts},
    Unsupported{"-p,--publish", kNetwork},
    Unsupported{"-P,--publish-all", kNetwork},
    Unsupported{"--link", kNetwork},
    Unsupported{"--network-alias", kNetwork},
    Unsupported{"--ip", kNetwork},
    Unsupported{"--ip6", kNetwork},
    Unsupported{"--mac-address", kNetwork},
    Unsupported{"--device", kDevices},
    Unsupported{"--device-cgroup-rule", kDevices},
    Unsupported{"--gpus", kDevices},
    Unsupported{"-c,--cpu-shares", kShares},
    Unsupported{"--cpu-period", kShares},
    Unsupported{"--cpu-quota", kShares},
    Unsupported{"--cpuset-cpus", kShares},
    Unsupported{"--cpuset-mems", kShares},
    Unsupported{"--blkio-weight", kShares},
    Unsupported{"--memory-reservation", kShares},
    Unsupported{"--memory-swap", "a guest has no swap: --memory is all it gets"},
    Unsupported{"--memory-swappiness", "a guest has no swap: --memory is all it gets"},
    Unsupported{"--oom-kill-disable", "a guest that is out of memory has to kill something"},
    Unsupported{"--oom-score-adj", "the guest's kernel decides what it kills: leave it out"},
    Unsupported{"--cgroup-parent", "each machine has a cgroup of Drupe's: leave it out"},
    Unsupported{"--cgroupns", kMachine},
    Unsupported{"--ipc", kMachine},
    Unsupported{"--pid", kMachine},
    Unsupported{"--uts", kMachine},
    Unsupported{"--userns", kMachine},
    Unsupported{"--security-opt", kSecurity},
    Unsupported{"--runtime", "Drupe has one runtime: leave it out"},
};

constexpr std::string_view kBuild =
    "nothing builds images here yet: build elsewhere and pipe docker save into drupe load, or make "
    "one with drupe commit or drupe import";
constexpr std::string_view kOneHost = "Drupe is for one host: there is nothing instead";

constexpr std::array kCommands{
    Unsupported{"build", kBuild},
    Unsupported{"builder", kBuild},
    Unsupported{"buildx", kBuild},
    Unsupported{"compose", "use docker compose with druped: -H unix:///run/drupe/drupe.sock"},
    Unsupported{"checkpoint", "they are called snapshots here: drupe snapshot"},
    Unsupported{"search", "registries aren't searched: name the image for drupe pull"},
    Unsupported{"plugin", "druped takes no plugins"},
    Unsupported{"swarm", kOneHost},
    Unsupported{"node", kOneHost},
    Unsupported{"service", kOneHost},
    Unsupported{"stack", kOneHost},
    Unsupported{"secret", kOneHost},
    Unsupported{"config", kOneHost},
};

}  // namespace

std::span<const Unsupported> unsupported_options() {
    return kOptions;
}

std::span<const Unsupported> unsupported_commands() {
    return kCommands;
}

const Unsupported* find_unsupported(std::span<const Unsupported> list, std::string_view name) {
    const auto found = std::find_if(list.begin(), list.end(), [name](const Unsupported& entry) {
        const size_t comma = entry.names.find(',');
        if (comma == std::string_view::npos) return entry.names == name;
        return entry.names.substr(0, comma) == name || entry.names.substr(comma + 1) == name;
    });
    return found == list.end() ? nullptr : &*found;
}

}  // namespace drupe::cli
