#include "api/endpoints/create_body.h"

#include <fmt/format.h>

#include <strings.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <optional>

#include "api/endpoints/refused_options.h"
#include "api/endpoints/resource_limits.h"
#include "api/engine/log_options.h"
#include "api/engine/units.h"
#include "base/json_reader.h"

namespace drupe::endpoints {
namespace {

using engine::ContainerConfig;
using nlohmann::json;
using Strings = std::vector<std::string>;

constexpr size_t kMaxItems = 8192;

Error invalid(std::string message) {
    return Error{ErrorCode::kInvalid, std::move(message)};
}

/// Cmd and Entrypoint: a list, or one string.
Status read_words(const json& object, const char* name, std::optional<Strings>& out) {
    const auto found = object.find(name);
    if (found == object.end() || found->is_null()) return ok();
    if (found->is_string()) {
        out = Strings{found->get<std::string>()};
        return ok();
    }
    JsonReader in(object);
    in.get_list(name, out.emplace(), kMaxItems);
    return in.status();
}

/// The names of an object's members, as in {"80/tcp": {}}.
Status read_keys(const json* object, Strings& out) {
    if (object == nullptr) return ok();
    if (object->size() > kMaxItems) return invalid("too many members");
    for (const auto& [name, value] : object->items()) out.push_back(name);
    return ok();
}

Status read_map(const json* object, const char* what, std::map<std::string, std::string>& out) {
    if (object == nullptr) return ok();
    if (object->size() > kMaxItems) return invalid(fmt::format("{}: too many members", what));
    for (const auto& [name, value] : object->items()) {
        if (value.is_null()) {
            out[name] = "";
        } else if (value.is_string()) {
            out[name] = value.get<std::string>();
        } else {
            return invalid(fmt::format("{}: the value of \"{}\" is no text", what, name));
        }
    }
    return ok();
}

Status check_env(const Strings& env) {
    for (const std::string& variable : env) {
        if (variable.empty() || variable.front() == '=') {
            return invalid("invalid environment variable: " + variable);
        }
    }
    return ok();
}

Status check_domain(const std::string& name) {
    const auto control = [](unsigned char c) { return c < ' ' || c == 0x7f; };
    if (std::none_of(name.begin(), name.end(), control)) return ok();
    return invalid("invalid Domainname: it has control characters");
}

std::optional<uint16_t> parse_port(std::string_view text) {
    uint16_t port = 0;
    const char* const end = text.data() + text.size();
    const auto [stop, error] = std::from_chars(text.data(), end, port);
    if (error != std::errc() || stop != end) return std::nullopt;
    return port;
}

/// "80", "80/tcp" or "8000-8010/udp".
Status check_port(const std::string& text) {
    const size_t slash = text.find('/');
    const std::string proto = slash == std::string::npos ? "tcp" : text.substr(slash + 1);
    const auto same = [&](const char* known) { return ::strcasecmp(proto.c_str(), known) == 0; };
    const bool nul = proto.find('\0') != std::string::npos;
    if (nul || (!proto.empty() && !same("tcp") && !same("udp") && !same("sctp"))) {
        return invalid("invalid proto: " + proto.substr(0, 64));
    }
    const std::string_view ports = std::string_view(text).substr(0, slash);
    const size_t dash = ports.find('-');
    const auto first = parse_port(ports.substr(0, dash));
    const auto last = dash == std::string::npos ? first : parse_port(ports.substr(dash + 1));
    if (first && last && *first <= *last) return ok();
    return invalid(fmt::format("invalid port specification: \"{}\"", text.substr(0, 64)));
}

/// Docker's durations are signed nanoseconds; those of a health check at least a millisecond.
Status read_duration(JsonReader& in, const char* name, uint64_t& out) {
    constexpr int64_t kLeastNs = 1'000'000;
    int64_t value = 0;
    in.get(name, value);
    TRY(in.status());
    if (value < 0 || (value > 0 && value < kLeastNs)) {
        return invalid(fmt::format("{} in Healthcheck cannot be less than 1ms", name));
    }
    out = static_cast<uint64_t>(value);
    return ok();
}

Status read_health(const json* value, ContainerConfig& out) {
    if (value == nullptr) return ok();
    engine::HealthCheck health;
    JsonReader in(*value, "Healthcheck");
    in.get_list("Test", health.test, kMaxItems);
    int64_t retries = 0;
    in.get("Retries", retries);
    TRY(in.status());
    TRY(read_duration(in, "Interval", health.interval_ns));
    TRY(read_duration(in, "Timeout", health.timeout_ns));
    TRY(read_duration(in, "StartPeriod", health.start_period_ns));
    TRY(read_duration(in, "StartInterval", health.start_interval_ns));
    if (retries < 0 || retries > INT32_MAX)
        return invalid("Retries in Healthcheck is out of range");
    health.retries = static_cast<uint32_t>(retries);
    if (health.test.empty()) return ok();  // as the image says
    const std::string& kind = health.test.front();
    if (kind != "NONE" && kind != "CMD" && kind != "CMD-SHELL") {
        return invalid("Unknown healthcheck type '" + kind + "'");
    }
    if (kind != "NONE" && health.test.size() < 2) {
        return invalid("Healthcheck: " + kind + " needs a command");
    }
    out.health = std::move(health);
    return ok();
}

/// The members that are the image's too.
Status read_config(const json& body, ContainerConfig& out) {
    JsonReader in(body);
    in.get("Hostname", out.host_name);
    in.get("Domainname", out.domain_name);
    in.get("User", out.user);
    in.get("AttachStdin", out.attach_stdin);
    in.get("AttachStdout", out.attach_stdout);
    in.get("AttachStderr", out.attach_stderr);
    in.get("Tty", out.tty);
    in.get("OpenStdin", out.open_stdin);
    in.get("StdinOnce", out.stdin_once);
    in.get_list("Env", out.env, kMaxItems);
    in.get("Image", out.image);
    in.get("WorkingDir", out.working_dir);
    in.get("StopSignal", out.stop_signal);
    in.get_list("Shell", out.shell, kMaxItems);
    if (body.contains("StopTimeout") && !body["StopTimeout"].is_null()) {
        int64_t seconds = 0;
        in.get("StopTimeout", seconds);
        if (seconds > UINT32_MAX) in.fail("StopTimeout");
        // As Docker's: a negative one waits for ever.
        out.stop_timeout_s = seconds < 0 ? UINT32_MAX : static_cast<uint32_t>(seconds);
    }
    const json* labels = in.object("Labels");
    const json* ports = in.object("ExposedPorts");
    const json* volumes = in.object("Volumes");
    const json* health = in.object("Healthcheck");
    in.get_list("OnBuild", out.on_build, kMaxItems);
    TRY(in.status());
    TRY(check_env(out.env));
    TRY(read_words(body, "Cmd", out.cmd));
    TRY(read_words(body, "Entrypoint", out.entrypoint));
    TRY(read_map(labels, "Labels", out.labels));
    TRY(check_domain(out.domain_name));
    TRY(read_keys(ports, out.exposed_ports));
    for (const std::string& port : out.exposed_ports) {
        TRY(check_port(port));
    }
    if (volumes != nullptr && !volumes->empty()) return not_yet("volumes (-v, Volumes)");
    return read_health(health, out);
}

Status read_ulimits(const json& host, ContainerConfig& out) {
    const auto found = host.find("Ulimits");
    if (found == host.end() || found->is_null()) return ok();
    if (!found->is_array() || found->size() > kMaxItems)
        return invalid("Ulimits: a list is expected");
    for (const json& item : *found) {
        engine::Ulimit limit;
        int64_t soft = 0;
        int64_t hard = 0;
        JsonReader in(item, "Ulimits");
        in.get("Name", limit.name);
        in.get("Soft", soft);
        in.get("Hard", hard);
        TRY(in.status());
        limit.soft = static_cast<uint64_t>(soft);  // -1: no limit
        limit.hard = static_cast<uint64_t>(hard);
        const auto same = [&](const engine::Ulimit& other) { return other.name == limit.name; };
        std::erase_if(out.ulimits, same);  // the last of a name wins
        out.ulimits.push_back(std::move(limit));
    }
    return ok();
}

Status read_resources(const json& host, ContainerConfig& out) {
    TRY_ASSIGN(const ResourceLimits limits, parse_resource_limits(host));
    out.memory_bytes = limits.memory_bytes.value_or(0);
    out.nano_cpus = limits.nano_cpus.value_or(0);
    out.pids_limit = limits.pids_limit.value_or(0);
    int64_t shm = 0;
    JsonReader in(host, "HostConfig");
    in.get("ShmSize", shm);
    TRY(in.status());
    if (shm < 0) return invalid("SHM size can not be less than 0");
    out.shm_bytes = static_cast<uint64_t>(shm);
    return ok();
}

Status read_storage(const json* value, ContainerConfig& out) {
    std::map<std::string, std::string> options;
    TRY(read_map(value, "StorageOpt", options));
    for (const auto& [name, text] : options) {
        if (name != "size") return invalid("StorageOpt: unknown option '" + name + "'");
        TRY_ASSIGN(out.storage_bytes, engine::parse_bytes(text));
    }
    return ok();
}

Status read_log(const json* value, ContainerConfig& out) {
    if (value == nullptr) return ok();
    JsonReader in(*value, "HostConfig.LogConfig");
    std::string type;
    in.get("Type", type);
    const json* options = in.object("Config");
    TRY(in.status());
    std::map<std::string, std::string> map;
    TRY(read_map(options, "LogConfig.Config", map));
    TRY_ASSIGN(out.log, engine::parse_log_options(type, map));
    return ok();
}

Status read_host_config(const json& host, ContainerConfig& out) {
    TRY(refuse_options(host));
    JsonReader in(host, "HostConfig");
    in.get("ReadonlyRootfs", out.read_only);
    in.get("AutoRemove", out.auto_remove);
    in.get("Privileged", out.privileged);
    in.get("Init", out.init);
    in.get_list("CapAdd", out.cap_add, kMaxItems);
    in.get_list("CapDrop", out.cap_drop, kMaxItems);
    in.get_list("GroupAdd", out.groups, kMaxItems);
    in.get_list("Dns", out.dns, kMaxItems);
    in.get_list("DnsOptions", out.dns_options, kMaxItems);
    in.get_list("DnsSearch", out.dns_search, kMaxItems);
    in.get_list("ExtraHosts", out.extra_hosts, kMaxItems);
    std::string network;
    in.get("NetworkMode", network);
    const json* tmpfs = in.object("Tmpfs");
    const json* sysctls = in.object("Sysctls");
    const json* storage = in.object("StorageOpt");
    const json* log = in.object("LogConfig");
    const json* restart = in.object("RestartPolicy");
    TRY(in.status());
    if (!network.empty()) out.network_mode = network;
    TRY(read_map(tmpfs, "Tmpfs", out.tmpfs));
    TRY(read_map(sysctls, "Sysctls", out.sysctls));
    TRY(read_storage(storage, out));
    TRY(read_log(log, out));
    TRY(read_ulimits(host, out));
    TRY(read_resources(host, out));
    if (restart != nullptr) {
        TRY_ASSIGN(out.restart, parse_restart_policy(*restart));
    }
    if (out.auto_remove && out.restart.kind != engine::RestartPolicy::Kind::kNo) {
        return invalid("can't create 'AutoRemove' container with restart policy");
    }
    return ok();
}

Status read_switch(const std::string& label, const std::string& value, bool& out) {
    out = value == "1" || value == "true";
    if (out || value == "0" || value == "false") return ok();
    return invalid(fmt::format("label {}: '{}' is neither true (1) nor false (0)", label,
                               value.substr(0, 64)));
}

/// Drupe's own options travel as labels.
Status read_labels(ContainerConfig& out) {
    for (const auto& [name, value] : out.labels) {
        if (!name.starts_with("drupe.")) continue;
        if (name == "drupe.kernel") {
            if (!value.starts_with('/') || value.find('\0') != std::string::npos) {
                return invalid("label drupe.kernel: not an absolute path");
            }
            out.kernel = value;
        } else if (name == "drupe.kernel-args") {
            out.kernel_args = value;
        } else if (name == "drupe.console") {
            TRY(read_switch(name, value, out.console));
        } else if (name == "drupe.timing") {
            TRY(read_switch(name, value, out.timing));
        } else if (name == "drupe.boot") {
            out.boot = value;
        } else if (name == "drupe.snapshot") {
            out.from_checkpoint = value;
        } else {
            return invalid("unknown label " + name +
                           ": those of Drupe's are drupe.kernel, "
                           "drupe.kernel-args, drupe.console, drupe.timing, drupe.boot and "
                           "drupe.snapshot");
        }
    }
    return ok();
}

}  // namespace

Result<engine::RestartPolicy> parse_restart_policy(const json& value) {
    engine::RestartPolicy policy;
    JsonReader in(value, "RestartPolicy");
    std::string name;
    int64_t retries = 0;
    in.get("Name", name);
    in.get("MaximumRetryCount", retries);
    TRY(in.status());
    if (name.empty()) name = "no";
    const auto kind = engine::parse_restart_kind(name);
    if (!kind) {
        return invalid(
            fmt::format("invalid restart policy: unknown policy '{}'; use one of 'no', "
                        "'always', 'on-failure', or 'unless-stopped'",
                        name.substr(0, 64)));
    }
    policy.kind = *kind;
    if (retries < 0 || retries > INT32_MAX) {
        return invalid("invalid restart policy: maximum retry count cannot be negative");
    }
    if (retries != 0 && *kind != engine::RestartPolicy::Kind::kOnFailure) {
        return invalid(
            "invalid restart policy: maximum retry count can only be used with "
            "'on-failure'");
    }
    policy.max_retries = static_cast<uint32_t>(retries);
    return policy;
}

Result<NetworkEndpoint> parse_endpoint(const json& body) {
    JsonReader in(body);
    const json* networking = in.object("NetworkingConfig");
    bool network_disabled = false;
    in.get("NetworkDisabled", network_disabled);
    TRY(in.status());
    NetworkEndpoint out;
    if (networking == nullptr) return out;
    TRY(refuse_networking(*networking));
    const auto endpoints = networking->find("EndpointsConfig");
    if (network_disabled || endpoints == networking->end() || endpoints->empty()) return out;
    if (endpoints->size() > 1) {
        return not_yet(fmt::format("several networks of a container (EndpointsConfig: {})",
                                   endpoints->size()));
    }
    out.network = endpoints->begin().key();
    if (endpoints->begin()->is_null()) return out;
    JsonReader endpoint(*endpoints->begin());
    endpoint.get_list("Aliases", out.aliases, kMaxItems);
    TRY(endpoint.status());
    return out;
}

Result<ContainerConfig> parse_create_body(const json& body) {
    ContainerConfig out;
    JsonReader in(body);
    const json* host = in.object("HostConfig");
    bool network_disabled = false;
    in.get("NetworkDisabled", network_disabled);
    TRY(in.status());
    TRY(read_config(body, out));
    TRY(refuse_config(body));
    if (host != nullptr) {
        TRY(read_host_config(*host, out));
    }
    if (network_disabled) out.network_mode = "none";  // whatever HostConfig says
    TRY(parse_endpoint(body));
    TRY(read_labels(out));
    if (out.image.empty() && out.from_checkpoint.empty())
        return invalid("no image: Image has to name one");
    return out;
}

}  // namespace drupe::endpoints
