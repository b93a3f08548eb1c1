#include "imagefs/oci/image_config.h"

#include <fmt/core.h>

#include <algorithm>

#include "imagefs/oci/json.h"
#include "imagefs/oci/manifest.h"

namespace drupe::imagefs::oci {
namespace {

Status parse_healthcheck(const Json& json, std::optional<Healthcheck>& out) {
    Healthcheck check;
    TRY_ASSIGN(check.test, strings_member(json, "Test"));
    TRY_ASSIGN(const auto interval, unsigned_member(json, "Interval"));
    TRY_ASSIGN(const auto timeout, unsigned_member(json, "Timeout"));
    TRY_ASSIGN(const auto start_period, unsigned_member(json, "StartPeriod"));
    TRY_ASSIGN(const auto retries, unsigned_member(json, "Retries"));
    check.interval_ns = interval.value_or(0);
    check.timeout_ns = timeout.value_or(0);
    check.start_period_ns = start_period.value_or(0);
    check.retries = retries.value_or(0);
    out = std::move(check);
    return ok();
}

/// What becomes arguments and names of a process can't hold a zero byte.
Status check_no_zero_bytes(const std::vector<std::string>& list, std::string_view what) {
    const bool bad = std::any_of(list.begin(), list.end(), [](const std::string& text) {
        return text.find('\0') != std::string::npos;
    });
    if (!bad) return ok();
    return Error{ErrorCode::kInvalid, fmt::format("image config: a zero byte in {}", what)};
}

Status parse_run(const Json& json, ImageConfig& config) {
    TRY_ASSIGN(const auto user, string_member(json, "User"));
    TRY_ASSIGN(const auto working_dir, string_member(json, "WorkingDir"));
    TRY_ASSIGN(const auto stop_signal, string_member(json, "StopSignal"));
    config.user = user.value_or("");
    config.working_dir = working_dir.value_or("");
    config.stop_signal = stop_signal.value_or("");
    TRY_ASSIGN(config.env, strings_member(json, "Env"));
    TRY_ASSIGN(config.entrypoint, strings_member(json, "Entrypoint"));
    TRY_ASSIGN(config.cmd, strings_member(json, "Cmd"));
    TRY_ASSIGN(config.shell, strings_member(json, "Shell"));
    TRY_ASSIGN(config.exposed_ports, keys_member(json, "ExposedPorts"));
    TRY_ASSIGN(config.volumes, keys_member(json, "Volumes"));
    TRY_ASSIGN(config.labels, map_member(json, "Labels"));
    TRY_ASSIGN(const Json* healthcheck, object_member(json, "Healthcheck"));
    if (healthcheck != nullptr) {
        TRY(parse_healthcheck(*healthcheck, config.healthcheck));
    }
    TRY(check_no_zero_bytes(config.env, "Env"));
    TRY(check_no_zero_bytes(config.entrypoint, "Entrypoint"));
    TRY(check_no_zero_bytes(config.cmd, "Cmd"));
    TRY(check_no_zero_bytes(config.shell, "Shell"));
    return check_no_zero_bytes({config.user, config.working_dir, config.stop_signal},
                               "User, WorkingDir or StopSignal");
}

}  // namespace

Result<ImageConfig> ImageConfig::parse(std::string text) {
    TRY_ASSIGN(const Json json, parse_json(text, "image config"));
    ImageConfig config;
    config.raw = std::move(text);
    TRY_ASSIGN(const auto os, string_member(json, "os"));
    TRY_ASSIGN(const auto architecture, string_member(json, "architecture"));
    config.os = os.value_or("");
    config.architecture = architecture.value_or("");
    TRY_ASSIGN(const Json* rootfs, object_member(json, "rootfs"));
    if (rootfs == nullptr) return Error{ErrorCode::kInvalid, "image config: no rootfs"};
    TRY_ASSIGN(const auto type, string_member(*rootfs, "type"));
    if (type != "layers") {
        return Error{ErrorCode::kUnsupported, "image config: its rootfs is not of type 'layers'"};
    }
    TRY_ASSIGN(const auto diff_ids, strings_member(*rootfs, "diff_ids"));
    if (diff_ids.size() > kMaxLayers) {
        return Error{ErrorCode::kLimit,
                     fmt::format("image config: more than {} layers", kMaxLayers)};
    }
    for (const std::string& diff_id : diff_ids) {
        TRY_ASSIGN(const Digest digest, Digest::parse(diff_id));
        config.diff_ids.push_back(digest);
    }
    TRY_ASSIGN(const Json* run, object_member(json, "config"));
    if (run != nullptr) {
        TRY(parse_run(*run, config));
    }
    return config;
}

Status check_config(const ImageConfig& config, size_t layers) {
    if ((!config.os.empty() && config.os != kOs) ||
        (!config.architecture.empty() && config.architecture != kArchitecture)) {
        return Error{ErrorCode::kUnsupported,
                     fmt::format("the image is for {}/{}, not {}/{}", config.os,
                                 config.architecture, kOs, kArchitecture)};
    }
    if (config.diff_ids.size() != layers) {
        return Error{ErrorCode::kInvalid, fmt::format("the config names {} layers, the manifest {}",
                                                      config.diff_ids.size(), layers)};
    }
    return ok();
}

std::string make_config(const Digest& diff_id, const std::vector<std::string>& env,
                        const std::vector<std::string>& cmd, std::string_view comment) {
    Json run = Json::object();
    if (!env.empty()) run["Env"] = env;
    if (!cmd.empty()) run["Cmd"] = cmd;
    const Json json{
        {"architecture", "amd64"},
        {"os", "linux"},
        {"config", run},
        {"rootfs", {{"type", "layers"}, {"diff_ids", Json::array({diff_id.to_string()})}}},
        {"history", Json::array({Json{{"created_by", "drupe import"}, {"comment", comment}}})},
    };
    return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace drupe::imagefs::oci
