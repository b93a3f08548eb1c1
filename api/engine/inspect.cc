#include "api/engine/inspect.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "api/engine/process.h"
#include "api/engine/time_text.h"

namespace drupe::engine {
namespace {

using json = nlohmann::ordered_json;  // Docker's order of members
using Strings = std::vector<std::string>;

std::string dump_json(const json& value) {
    return value.dump(-1, ' ', false, json::error_handler_t::replace);
}

json list_or_null(const Strings& list) {
    return list.empty() ? json() : json(list);
}

/// A machine that waited for its container has a user of its own.
uint32_t monitor_user(const Container& container) {
    if (process_start_ticks(container.pid) != container.pid_started) return container.uid;
    return process_user(container.pid).value_or(container.uid);
}

json state_json(const Container& container) {
    const bool running = container.state == State::kRunning || container.state == State::kPaused ||
                         container.state == State::kRestarting;
    return {{"Status", to_string(container.state)},
            {"Running", running},
            {"Paused", container.state == State::kPaused},
            {"Restarting", container.state == State::kRestarting},
            {"OOMKilled", container.oom_killed},
            {"Dead", container.state == State::kDead},
            {"Pid", running ? container.pid : 0},
            {"ExitCode", container.exit_code},
            {"Error", container.error},
            {"StartedAt", time_text(container.started_at_ns)},
            {"FinishedAt", time_text(container.finished_at_ns)}};
}

json health_json(const HealthCheck& health) {
    json value{{"Test", health.test}};
    if (health.interval_ns != 0) value["Interval"] = health.interval_ns;
    if (health.timeout_ns != 0) value["Timeout"] = health.timeout_ns;
    if (health.start_period_ns != 0) value["StartPeriod"] = health.start_period_ns;
    if (health.start_interval_ns != 0) value["StartInterval"] = health.start_interval_ns;
    if (health.retries != 0) value["Retries"] = health.retries;
    return value;
}

/// {"80/tcp": value, ...}
json keys_json(const Strings& keys, const json& value) {
    json object = json::object();
    for (const std::string& key : keys) object[key] = value;
    return object;
}

json config_json(const ContainerConfig& config, std::string_view id) {
    json value{{"Hostname", config.host_name.empty() ? short_id(id) : config.host_name},
               {"Domainname", config.domain_name},
               {"User", config.user},
               {"AttachStdin", config.attach_stdin},
               {"AttachStdout", config.attach_stdout},
               {"AttachStderr", config.attach_stderr}};
    if (!config.exposed_ports.empty()) {
        value["ExposedPorts"] = keys_json(config.exposed_ports, json::object());
    }
    value.update({{"Tty", config.tty},
                  {"OpenStdin", config.open_stdin},
                  {"StdinOnce", config.stdin_once},
                  {"Env", list_or_null(config.env)},
                  {"Cmd", config.cmd && !config.cmd->empty() ? json(*config.cmd) : json()}});
    if (config.health) value["Healthcheck"] = health_json(*config.health);
    value.update(
        {{"Image", config.image},
         {"Volumes", nullptr},
         {"WorkingDir", config.working_dir},
         {"Entrypoint",
          config.entrypoint && !config.entrypoint->empty() ? json(*config.entrypoint) : json()},
         {"OnBuild", list_or_null(config.on_build)},
         {"Labels", config.labels}});
    if (!config.stop_signal.empty()) value["StopSignal"] = config.stop_signal;
    if (config.stop_timeout_s) value["StopTimeout"] = *config.stop_timeout_s;
    if (!config.shell.empty()) value["Shell"] = config.shell;
    return value;
}

/// "1m", as people write it.
std::string size_text(uint64_t bytes) {
    constexpr uint64_t kKilo = 1024;
    constexpr std::string_view kUnits = "kmg";
    size_t unit = 0;
    for (; unit < kUnits.size() && bytes % kKilo == 0; ++unit) bytes /= kKilo;
    return std::to_string(bytes) + (unit == 0 ? "" : std::string(1, kUnits[unit - 1]));
}

json log_json(const LogOptions& log) {
    json options = json::object();
    if (log.max_size_bytes != 0) options["max-size"] = size_text(log.max_size_bytes);
    if (log.max_files != 0) options["max-file"] = std::to_string(log.max_files);
    return {{"Type", log.driver}, {"Config", options}};
}

json ulimits_json(const std::vector<Ulimit>& limits) {
    json list = json::array();
    for (const Ulimit& limit : limits) {
        // Docker's numbers are signed: no limit is -1.
        list.push_back({{"Name", limit.name},
                        {"Hard", static_cast<int64_t>(limit.hard)},
                        {"Soft", static_cast<int64_t>(limit.soft)}});
    }
    return list;
}

/// Every member that Docker has: what we don't honour says that it isn't set.
json host_config_json(const ContainerConfig& config) {
    constexpr uint64_t kDefaultShmBytes = 64 << 20;
    const json none = json::array();
    json value{{"Binds", nullptr},
               {"ContainerIDFile", ""},
               {"LogConfig", log_json(config.log)},
               {"NetworkMode", config.network_mode},
               {"PortBindings", json::object()},
               {"RestartPolicy",
                {{"Name", to_string(config.restart.kind)},
                 {"MaximumRetryCount", config.restart.max_retries}}},
               {"AutoRemove", config.auto_remove},
               {"VolumeDriver", ""},
               {"VolumesFrom", nullptr},
               {"ConsoleSize", {0, 0}},
               {"CapAdd", list_or_null(config.cap_add)},
               {"CapDrop", list_or_null(config.cap_drop)},
               {"CgroupnsMode", "private"},
               {"Dns", config.dns},
               {"DnsOptions", config.dns_options},
               {"DnsSearch", config.dns_search},
               {"ExtraHosts", list_or_null(config.extra_hosts)},
               {"GroupAdd", list_or_null(config.groups)},
               {"IpcMode", "private"},
               {"Cgroup", ""},
               {"Links", nullptr},
               {"OomScoreAdj", 0},
               {"PidMode", ""},
               {"Privileged", config.privileged},
               {"PublishAllPorts", false},
               {"ReadonlyRootfs", config.read_only},
               {"SecurityOpt", nullptr}};
    if (config.storage_bytes != 0) {
        value["StorageOpt"] = {{"size", std::to_string(config.storage_bytes)}};
    }
    if (!config.tmpfs.empty()) value["Tmpfs"] = config.tmpfs;
    value.update({{"UTSMode", ""},
                  {"UsernsMode", ""},
                  {"ShmSize", config.shm_bytes != 0 ? config.shm_bytes : kDefaultShmBytes}});
    if (!config.sysctls.empty()) value["Sysctls"] = config.sysctls;
    value.update({{"Runtime", "drupe"},
                  {"Isolation", ""},
                  {"CpuShares", 0},
                  {"Memory", config.memory_bytes},
                  {"NanoCpus", config.nano_cpus},
                  {"CgroupParent", ""},
                  {"BlkioWeight", 0},
                  {"BlkioWeightDevice", none},
                  {"BlkioDeviceReadBps", none},
                  {"BlkioDeviceWriteBps", none},
                  {"BlkioDeviceReadIOps", none},
                  {"BlkioDeviceWriteIOps", none},
                  {"CpuPeriod", 0},
                  {"CpuQuota", 0},
                  {"CpuRealtimePeriod", 0},
                  {"CpuRealtimeRuntime", 0},
                  {"CpusetCpus", ""},
                  {"CpusetMems", ""},
                  {"Devices", none},
                  {"DeviceCgroupRules", nullptr},
                  {"DeviceRequests", nullptr},
                  {"MemoryReservation", 0},
                  {"MemorySwap", config.memory_bytes},
                  {"MemorySwappiness", nullptr},
                  {"OomKillDisable", false},
                  {"PidsLimit", config.pids_limit != 0 ? json(config.pids_limit) : json()},
                  {"Ulimits", ulimits_json(config.ulimits)},
                  {"CpuCount", 0},
                  {"CpuPercent", 0},
                  {"IOMaximumIOps", 0},
                  {"IOMaximumBandwidth", 0},
                  {"MaskedPaths", none},
                  {"ReadonlyPaths", none}});
    if (config.init) value["Init"] = true;
    return value;
}

json network_settings_json(const Container& container) {
    const ContainerConfig& config = container.config;
    json ports = json::object();
    if (config.network_mode != "none") ports = keys_json(config.exposed_ports, nullptr);
    return {{"Bridge", ""},
            {"SandboxID", ""},
            {"SandboxKey", ""},
            {"Ports", ports},
            {"HairpinMode", false},
            {"LinkLocalIPv6Address", ""},
            {"LinkLocalIPv6PrefixLen", 0},
            {"SecondaryIPAddresses", nullptr},
            {"SecondaryIPv6Addresses", nullptr},
            {"EndpointID", ""},
            {"Gateway", ""},
            {"GlobalIPv6Address", ""},
            {"GlobalIPv6PrefixLen", 0},
            {"IPAddress", ""},
            {"IPPrefixLen", 0},
            {"IPv6Gateway", ""},
            {"MacAddress", ""},
            {"Networks", networks_json(config)}};
}

}  // namespace

std::string create_json(const ContainerConfig& config) {
    json body = config_json(config, "");
    json& labels = body["Labels"];
    if (!config.kernel.empty()) labels["drupe.kernel"] = config.kernel;
    if (!config.boot.empty()) labels["drupe.boot"] = config.boot;
    if (!config.from_checkpoint.empty()) labels["drupe.snapshot"] = config.from_checkpoint;
    if (!config.kernel_args.empty()) labels["drupe.kernel-args"] = config.kernel_args;
    if (config.console) labels["drupe.console"] = "1";
    if (config.timing) labels["drupe.timing"] = "1";
    body["HostConfig"] = host_config_json(config);
    return dump_json(body);
}

std::string_view network_name(const ContainerConfig& config) {
    return config.network_mode == "default" ? std::string_view("bridge") : config.network_mode;
}

nlohmann::ordered_json networks_json(const ContainerConfig& config) {
    const json aliases = config.network_aliases.empty() ? json() : json(config.network_aliases);
    const json endpoint{
        {"IPAMConfig", nullptr},   {"Links", nullptr},         {"Aliases", aliases},
        {"MacAddress", ""},        {"DriverOpts", nullptr},    {"GwPriority", 0},
        {"NetworkID", ""},         {"EndpointID", ""},         {"Gateway", ""},
        {"IPAddress", ""},         {"IPPrefixLen", 0},         {"IPv6Gateway", ""},
        {"GlobalIPv6Address", ""}, {"GlobalIPv6PrefixLen", 0}, {"DNSNames", nullptr}};
    return {{std::string(network_name(config)), endpoint}};
}

nlohmann::ordered_json container_json(const Container& container, std::string_view log_path) {
    const Strings argv = argv_of(container.config);
    const Strings args(argv.empty() ? argv.begin() : argv.begin() + 1, argv.end());
    // As with Docker, it is there from the first start on.
    const bool logs = container.config.log.driver == "json-file" && container.started_at_ns != 0;
    return {{"Id", container.id},
            {"Created", time_text(container.created_at_ns)},
            {"Path", argv.empty() ? "" : argv.front()},
            {"Args", args},
            {"State", state_json(container)},
            {"Image", container.image_id},
            {"ResolvConfPath", ""},
            {"HostnamePath", ""},
            {"HostsPath", ""},
            {"LogPath", logs ? log_path : ""},
            {"Name", "/" + container.name},
            {"RestartCount", container.restarts},
            {"Driver", "drupe"},
            {"Platform", "linux"},
            {"MountLabel", ""},
            {"ProcessLabel", ""},
            {"AppArmorProfile", ""},
            {"ExecIDs", nullptr},
            {"HostConfig", host_config_json(container.config)},
            {"GraphDriver", {{"Data", nullptr}, {"Name", "drupe"}}},
            {"Mounts", json::array()},
            {"Config", config_json(container.config, container.id)},
            {"NetworkSettings", network_settings_json(container)},
            {"Drupe",
             {{"Reason", container.reason},
              {"MonitorUser", monitor_user(container)},
              {"Kernel", container.config.kernel},
              {"KernelArgs", container.config.kernel_args}}}};
}

std::string inspect_json(const Container& container, std::string_view log_path) {
    return dump_json(container_json(container, log_path));
}

namespace {

/// The image's own settings between those that Docker shows of every image.
json image_config_json(const json& config) {
    json shown{{"Hostname", ""},       {"Domainname", ""},      {"User", ""},
               {"AttachStdin", false}, {"AttachStdout", false}, {"AttachStderr", false},
               {"Tty", false},         {"OpenStdin", false},    {"StdinOnce", false},
               {"Env", nullptr},       {"Cmd", nullptr},        {"Image", ""},
               {"Volumes", nullptr},   {"WorkingDir", ""},      {"Entrypoint", nullptr},
               {"OnBuild", nullptr},   {"Labels", nullptr}};
    const auto inner = config.find("config");
    if (inner != config.end() && inner->is_object()) shown.update(*inner);
    return shown;
}

json digests_json(const ImageDescription& image) {
    json list = json::array();
    if (image.digest.empty()) return list;
    for (const std::string& reference : image.references) {
        const size_t colon = reference.rfind(':');
        const bool tag =
            colon != std::string::npos && reference.find('/', colon) == std::string::npos;
        const std::string digest =
            reference.substr(0, tag ? colon : reference.size()) + "@" + image.digest;
        if (std::find(list.begin(), list.end(), digest) == list.end()) list.push_back(digest);
    }
    return list;
}

}  // namespace

Result<std::string> inspect_json(const ImageDescription& image) {
    const json config = json::parse(image.config, nullptr, /*allow_exceptions=*/false);
    if (!config.is_object()) return Error{ErrorCode::kCorrupt, "image configuration: no object"};
    const auto member = [&](const char* name) {
        const auto found = config.find(name);
        return found != config.end() && found->is_string() ? found->get<std::string>() : "";
    };
    json value{{"Id", image.id},
               {"RepoTags", image.references},
               {"RepoDigests", digests_json(image)},
               {"Parent", ""},
               {"Comment", member("comment")},
               {"DockerVersion", member("docker_version")},
               {"Author", member("author")},
               {"Config", image_config_json(config)},
               {"Architecture", member("architecture")}};
    if (const std::string created = member("created"); !created.empty()) {
        value["Created"] = created;  // else it isn't known, and "" is no time
    }
    if (const std::string variant = member("variant"); !variant.empty()) value["Variant"] = variant;
    value["Os"] = member("os");
    value["Size"] = image.size_bytes;
    value["GraphDriver"] = {{"Data", nullptr}, {"Name", "drupe"}};
    value["RootFS"] = {{"Type", "layers"}, {"Layers", image.layers}};
    value["Metadata"] = {{"LastTagTime", time_text(image.tagged_ns)}};
    return dump_json(value);
}

}  // namespace drupe::engine
