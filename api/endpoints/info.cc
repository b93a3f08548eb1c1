// GET /info

#include <sys/sysinfo.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "api/endpoints/system.h"
#include "api/engine/clock.h"
#include "api/engine/time_text.h"

namespace drupe::endpoints {
namespace {

using engine::State;

/// PRETTY_NAME of /etc/os-release.
std::string operating_system() {
    constexpr size_t kMaxBytes = 64 << 10;
    const auto text = read_file("/etc/os-release", kMaxBytes);
    if (!text) return "Linux";
    const std::string key = "PRETTY_NAME=";
    const size_t at = text.value().find(key);
    if (at == std::string::npos) return "Linux";
    std::string name = text.value().substr(at + key.size());
    name = name.substr(0, name.find('\n'));
    if (name.size() >= 2 && name.front() == '"') name = name.substr(1, name.size() - 2);
    return name;
}

std::string host_name() {
    char name[256]{};
    ::gethostname(name, sizeof name - 1);
    return name;
}

uint64_t memory_bytes() {
    struct sysinfo host {};
    ::sysinfo(&host);
    return uint64_t{host.totalram} * host.mem_unit;
}

}  // namespace

Status info(const Call& call) {
    TRY_ASSIGN(auto engine, call.daemon.engines.borrow());
    TRY_ASSIGN(const auto containers, engine->list());
    TRY_ASSIGN(const auto images, engine.images().list());
    size_t running = 0;
    size_t paused = 0;
    for (const auto& container : containers) {
        running += container.state == State::kRunning || container.state == State::kRestarting;
        paused += container.state == State::kPaused;
    }
    utsname host{};
    ::uname(&host);
    const Json plugins{{"Volume", {"local"}},
                       {"Network", {"bridge", "null"}},
                       {"Authorization", nullptr},
                       {"Log", {"json-file", "local", "none"}}};
    Json json{{"ID", call.daemon.id},
              {"Containers", containers.size()},
              {"ContainersRunning", running},
              {"ContainersPaused", paused},
              {"ContainersStopped", containers.size() - running - paused},
              {"Images", images.size()},
              {"Driver", "drupe"},
              {"DriverStatus", Json::array()},
              {"Plugins", plugins},
              {"MemoryLimit", true},
              {"SwapLimit", false},
              {"CpuCfsPeriod", true},
              {"CpuCfsQuota", true},
              {"CPUShares", false},
              {"CPUSet", false},
              {"PidsLimit", true},
              {"IPv4Forwarding", false},
              {"Debug", false},
              {"NFd", 0},
              {"OomKillDisable", false},
              {"NGoroutines", call.daemon.jobs.busy()},
              {"SystemTime", engine::time_text(engine::realtime_ns())},
              {"LoggingDriver", "json-file"},
              {"CgroupDriver", "cgroupfs"},
              {"CgroupVersion", "2"},
              {"NEventsListener", 0},
              {"KernelVersion", host.release},
              {"OperatingSystem", operating_system()},
              {"OSVersion", ""},
              {"OSType", "linux"},
              {"Architecture", host.machine},
              {"IndexServerAddress", "https://index.docker.io/v1/"},
              {"RegistryConfig",
               {{"InsecureRegistryCIDRs", {"127.0.0.0/8"}},
                {"IndexConfigs",
                 {{"docker.io",
                   {{"Mirrors", Json::array()},
                    {"Name", "docker.io"},
                    {"Official", true},
                    {"Secure", true}}}}},
                {"Mirrors", Json::array()}}},
              {"NCPU", ::sysconf(_SC_NPROCESSORS_ONLN)},
              {"MemTotal", memory_bytes()},
              {"GenericResources", nullptr},
              {"DockerRootDir", call.daemon.paths.root},
              {"HttpProxy", ""},
              {"HttpsProxy", ""},
              {"NoProxy", ""},
              {"Name", host_name()},
              {"Labels", Json::array()},
              {"ExperimentalBuild", call.daemon.experimental},
              {"ServerVersion", DRUPE_VERSION},
              {"Runtimes", {{"drupe", {{"path", call.daemon.paths.monitor}}}}},
              {"DefaultRuntime", "drupe"},
              {"Swarm",
               {{"NodeID", ""},
                {"NodeAddr", ""},
                {"LocalNodeState", "inactive"},
                {"ControlAvailable", false},
                {"Error", ""},
                {"RemoteManagers", nullptr}}},
              {"LiveRestoreEnabled", true},
              {"Isolation", ""},
              {"InitBinary", "drupe-init"},
              {"SecurityOptions", {"name=kvm"}},
              {"Warnings", nullptr}};
    return call.answer(200, json);
}

}  // namespace drupe::endpoints
