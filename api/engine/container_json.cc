#include "api/engine/container_json.h"

#include <array>

#include "base/json_reader.h"

namespace drupe::engine {
namespace {

using nlohmann::json;
using Strings = std::vector<std::string>;

constexpr size_t kMaxItems = 8192;
constexpr size_t kMaxLabels = 4096;

json optional_list(const std::optional<Strings>& list) {
    return list ? json(*list) : json();
}

void get_optional_list(JsonReader& in, const json& object, const char* name,
                       std::optional<Strings>& out) {
    const auto found = object.find(name);
    if (found == object.end() || found->is_null()) return;
    in.get_list(name, out.emplace(), kMaxItems);
}

Status read_labels(const json* object, std::map<std::string, std::string>& out) {
    if (object == nullptr) return ok();
    if (object->size() > kMaxLabels) return Error{ErrorCode::kInvalid, "too many labels"};
    for (const auto& [name, value] : object->items()) {
        if (!value.is_string()) return Error{ErrorCode::kInvalid, "label \"" + name + "\""};
        out[name] = value.get_ref<const std::string&>();
    }
    return ok();
}

/// A list or a map that may be there.
void get_map(JsonReader& in, const char* name, std::map<std::string, std::string>& out) {
    if (auto status = read_labels(in.object(name), out); !status) in.check(status);
}

constexpr std::array<std::string_view, 4> kPolicies{"no", "on-failure", "unless-stopped", "always"};

json health_json(const std::optional<HealthCheck>& health) {
    if (!health) return {};
    return {{"test", health->test},
            {"interval_ns", health->interval_ns},
            {"timeout_ns", health->timeout_ns},
            {"start_period_ns", health->start_period_ns},
            {"start_interval_ns", health->start_interval_ns},
            {"retries", health->retries}};
}

void read_health(JsonReader& in, std::optional<HealthCheck>& out) {
    const json* value = in.object("health");
    if (value == nullptr) return;
    HealthCheck& health = out.emplace();
    JsonReader reader(*value, "health");
    reader.get_list("test", health.test, kMaxItems);
    reader.get("interval_ns", health.interval_ns);
    reader.get("timeout_ns", health.timeout_ns);
    reader.get("start_period_ns", health.start_period_ns);
    reader.get("start_interval_ns", health.start_interval_ns);
    reader.get("retries", health.retries);
    in.check(reader.status());
}

void read_policies(JsonReader& in, ContainerConfig& config) {
    if (const json* value = in.object("restart")) {
        JsonReader reader(*value, "restart");
        std::string kind;
        reader.get("kind", kind);
        reader.get("max_retries", config.restart.max_retries);
        if (const auto parsed = parse_restart_kind(kind)) {
            config.restart.kind = *parsed;
        } else {
            reader.fail("kind");
        }
        in.check(reader.status());
    }
    if (const json* value = in.object("log")) {
        JsonReader reader(*value, "log");
        reader.get("driver", config.log.driver);
        reader.get("max_size_bytes", config.log.max_size_bytes);
        reader.get("max_files", config.log.max_files);
        in.check(reader.status());
    }
    read_health(in, config.health);
    in.get_list("shell", config.shell, kMaxItems);
}

}  // namespace

std::string_view to_string(RestartPolicy::Kind kind) {
    return kPolicies[static_cast<size_t>(kind)];
}

std::optional<RestartPolicy::Kind> parse_restart_kind(std::string_view name) {
    for (size_t i = 0; i < kPolicies.size(); ++i) {
        if (kPolicies[i] == name) return static_cast<RestartPolicy::Kind>(i);
    }
    return std::nullopt;
}

std::string to_json(const ContainerConfig& config) {
    json ulimits = json::array();
    for (const Ulimit& limit : config.ulimits) {
        ulimits.push_back({{"name", limit.name}, {"soft", limit.soft}, {"hard", limit.hard}});
    }
    json value{
        {"image", config.image},
        {"entrypoint", optional_list(config.entrypoint)},
        {"cmd", optional_list(config.cmd)},
        {"env", config.env},
        {"working_dir", config.working_dir},
        {"user", config.user},
        {"host_name", config.host_name},
        {"domain_name", config.domain_name},
        {"labels", config.labels},
        {"stop_signal", config.stop_signal},
        {"ulimits", ulimits},
        {"restart",
         {{"kind", to_string(config.restart.kind)}, {"max_retries", config.restart.max_retries}}},
        {"health", health_json(config.health)},
        {"shell", config.shell},
        {"log",
         {{"driver", config.log.driver},
          {"max_size_bytes", config.log.max_size_bytes},
          {"max_files", config.log.max_files}}},
        {"exposed_ports", config.exposed_ports},
        {"on_build", config.on_build},
        {"network_mode", config.network_mode},
        {"network_aliases", config.network_aliases},
        {"tty", config.tty},
        {"open_stdin", config.open_stdin},
        {"stdin_once", config.stdin_once},
        {"attach_stdin", config.attach_stdin},
        {"attach_stdout", config.attach_stdout},
        {"attach_stderr", config.attach_stderr},
        {"read_only", config.read_only},
        {"auto_remove", config.auto_remove},
        {"memory_bytes", config.memory_bytes},
        {"storage_bytes", config.storage_bytes},
        {"nano_cpus", config.nano_cpus},
        {"shm_bytes", config.shm_bytes},
        {"pids_limit", config.pids_limit},
        {"init", config.init},
        {"privileged", config.privileged},
        {"cap_add", config.cap_add},
        {"cap_drop", config.cap_drop},
        {"groups", config.groups},
        {"tmpfs", config.tmpfs},
        {"sysctls", config.sysctls},
        {"dns", config.dns},
        {"dns_options", config.dns_options},
        {"dns_search", config.dns_search},
        {"extra_hosts", config.extra_hosts},
        {"live", config.live},
        {"from_checkpoint", config.from_checkpoint},
        {"resized", config.resized},
        {"machine_ram_bytes", config.machine_ram_bytes},
        {"boot", config.boot},
        {"kernel", config.kernel},
        {"kernel_args", config.kernel_args},
        {"console", config.console},
        {"timing", config.timing}};
    if (config.stop_timeout_s) value["stop_timeout_s"] = *config.stop_timeout_s;
    return dump_json(value);
}

Result<ContainerConfig> parse_container_config(std::string_view text) {
    const auto corrupt = [](const std::string& why) {
        return Error{ErrorCode::kCorrupt, "container configuration: " + why};
    };
    const auto parsed = parse_json(text);
    if (!parsed) return corrupt("not valid JSON");
    const json& value = parsed.value();
    ContainerConfig config;
    JsonReader in(value);
    if (auto status = in.status(); !status) return corrupt(status.error().message);
    in.get("image", config.image);
    get_optional_list(in, value, "entrypoint", config.entrypoint);
    get_optional_list(in, value, "cmd", config.cmd);
    in.get_list("env", config.env, kMaxItems);
    in.get("working_dir", config.working_dir);
    in.get("user", config.user);
    in.get("host_name", config.host_name);
    in.get("domain_name", config.domain_name);
    in.get("stop_signal", config.stop_signal);
    in.get("tty", config.tty);
    in.get("open_stdin", config.open_stdin);
    in.get("stdin_once", config.stdin_once);
    in.get("attach_stdin", config.attach_stdin);
    in.get("attach_stdout", config.attach_stdout);
    in.get("attach_stderr", config.attach_stderr);
    in.get("read_only", config.read_only);
    in.get("auto_remove", config.auto_remove);
    in.get("memory_bytes", config.memory_bytes);
    in.get("storage_bytes", config.storage_bytes);
    in.get("nano_cpus", config.nano_cpus);
    in.get("shm_bytes", config.shm_bytes);
    in.get("pids_limit", config.pids_limit);
    in.get("init", config.init);
    in.get("privileged", config.privileged);
    in.get_list("cap_add", config.cap_add, kMaxItems);
    in.get_list("cap_drop", config.cap_drop, kMaxItems);
    in.get_list("groups", config.groups, kMaxItems);
    get_map(in, "tmpfs", config.tmpfs);
    get_map(in, "sysctls", config.sysctls);
    in.get_list("dns", config.dns, kMaxItems);
    in.get_list("dns_options", config.dns_options, kMaxItems);
    in.get_list("dns_search", config.dns_search, kMaxItems);
    in.get_list("extra_hosts", config.extra_hosts, kMaxItems);
    in.get_list("exposed_ports", config.exposed_ports, kMaxItems);
    in.get_list("on_build", config.on_build, kMaxItems);
    in.get("network_mode", config.network_mode);
    in.get_list("network_aliases", config.network_aliases, kMaxItems);
    read_policies(in, config);
    if (value.contains("live")) in.get("live", config.live);
    if (value.contains("from_checkpoint")) in.get("from_checkpoint", config.from_checkpoint);
    if (value.contains("resized")) in.get("resized", config.resized);
    if (value.contains("machine_ram_bytes")) in.get("machine_ram_bytes", config.machine_ram_bytes);
    if (value.contains("boot")) in.get("boot", config.boot);
    in.get("kernel", config.kernel);
    in.get("kernel_args", config.kernel_args);
    in.get("console", config.console);
    in.get("timing", config.timing);
    if (value.contains("stop_timeout_s")) in.get("stop_timeout_s", config.stop_timeout_s.emplace());
    const json* labels = in.object("labels");
    if (auto status = read_labels(labels, config.labels); !status) in.check(status);
    const auto ulimits = value.find("ulimits");
    if (ulimits != value.end() && ulimits->is_array()) {
        for (const json& item : *ulimits) {
            Ulimit& limit = config.ulimits.emplace_back();
            JsonReader reader(item, "ulimits");
            reader.get("name", limit.name);
            reader.get("soft", limit.soft);
            reader.get("hard", limit.hard);
            in.check(reader.status());
        }
    }
    if (auto status = in.status(); !status) return corrupt(status.error().message);
    return config;
}

}  // namespace drupe::engine
