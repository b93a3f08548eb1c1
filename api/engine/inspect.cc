#include "api/engine/inspect.h"

#include <algorithm>
#include <nlohmann/json.hpp>

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

json state_json(const Container& container) {
    const bool running = container.state == State::kRunning || container.state == State::kPaused;
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

json config_json(const ContainerConfig& config, std::string_view id) {
    json value{
        {"Hostname", config.host_name.empty() ? short_id(id) : config.host_name},
        {"Domainname", config.domain_name},
        {"User", config.user},
        {"AttachStdin", config.attach_stdin},
        {"AttachStdout", config.attach_stdout},
        {"AttachStderr", config.attach_stderr},
        {"Tty", config.tty},
        {"OpenStdin", config.open_stdin},
        {"StdinOnce", config.attach_stdin},
        {"Env", list_or_null(config.env)},
        {"Cmd", config.cmd && !config.cmd->empty() ? json(*config.cmd) : json()},
        {"Image", config.image},
        {"Volumes", nullptr},
        {"WorkingDir", config.working_dir},
        {"Entrypoint",
         config.entrypoint && !config.entrypoint->empty() ? json(*config.entrypoint) : json()},
        {"OnBuild", nullptr},
        {"Labels", config.labels}};
    if (!config.stop_signal.empty()) value["StopSignal"] = config.stop_signal;
    if (config.stop_timeout_s) value["StopTimeout"] = *config.stop_timeout_s;
    return value;
}

json host_config_json(const ContainerConfig& config) {
    json ulimits = json::array();
    for (const Ulimit& limit : config.ulimits) {
        // Docker's numbers are signed: no limit is -1.
        ulimits.push_back({{"Name", limit.name},
                           {"Soft", static_cast<int64_t>(limit.soft)},
                           {"Hard", static_cast<int64_t>(limit.hard)}});
    }
    json storage;
    if (config.storage_bytes != 0) storage = {{"size", std::to_string(config.storage_bytes)}};
    return {{"LogConfig", {{"Type", "json-file"}, {"Config", json::object()}}},
            {"NetworkMode", "none"},
            {"PortBindings", json::object()},
            {"RestartPolicy", {{"Name", "no"}, {"MaximumRetryCount", 0}}},
            {"AutoRemove", config.auto_remove},
            {"ReadonlyRootfs", config.read_only},
            {"StorageOpt", storage},
            {"Privileged", false},
            {"Runtime", "drupe"},
            {"Memory", config.memory_bytes},
            {"NanoCpus", config.nano_cpus},
            {"Ulimits", ulimits}};
}

}  // namespace

std::string inspect_json(const Container& container, std::string_view log_path) {
    const Strings argv = argv_of(container.config);
    const Strings args(argv.empty() ? argv.begin() : argv.begin() + 1, argv.end());
    return dump_json(
        {{"Id", container.id},
         {"Created", time_text(container.created_at_ns)},
         {"Path", argv.empty() ? "" : argv.front()},
         {"Args", args},
         {"State", state_json(container)},
         {"Image", container.image_id},
         {"LogPath", log_path},
         {"Name", "/" + container.name},
         {"RestartCount", 0},
         {"Driver", "drupe"},
         {"Platform", "linux"},
         {"ExecIDs", nullptr},
         {"HostConfig", host_config_json(container.config)},
         {"Mounts", json::array()},
         {"Config", config_json(container.config, container.id)},
         {"NetworkSettings", {{"Ports", json::object()}, {"Networks", json::object()}}},
         {"Drupe",
          {{"Reason", container.reason},
           {"MonitorUser", container.uid},
           {"Kernel", container.config.kernel},
           {"KernelArgs", container.config.kernel_args}}}});
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
               {"Created", member("created")},
               {"DockerVersion", member("docker_version")},
               {"Author", member("author")},
               {"Config", image_config_json(config)},
               {"Architecture", member("architecture")}};
    if (const std::string variant = member("variant"); !variant.empty()) value["Variant"] = variant;
    value["Os"] = member("os");
    value["Size"] = image.size_bytes;
    value["GraphDriver"] = {{"Data", nullptr}, {"Name", "drupe"}};
    value["RootFS"] = {{"Type", "layers"}, {"Layers", image.layers}};
    return dump_json(value);
}

}  // namespace drupe::engine
