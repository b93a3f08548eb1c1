// GET /containers/json

#include <algorithm>

#include "api/endpoints/container_size.h"
#include "api/endpoints/containers.h"
#include "api/endpoints/name_pattern.h"
#include "api/engine/clock.h"
#include "api/engine/inspect.h"
#include "api/engine/status_text.h"

namespace drupe::endpoints {
namespace {

using engine::Container;

const std::vector<std::string_view> kKnown{"ancestor", "before",  "exited", "expose", "health",
                                           "id",       "is-task", "label",  "label!", "name",
                                           "network",  "publish", "since",  "status", "volume"};

Json summary(const Container& c, const std::string& health) {
    return {{"Id", c.id},
            {"Names", {"/" + c.name}},
            {"Image", c.config.image},
            {"ImageID", c.image_id},
            {"Command", engine::command_text(c.config)},
            {"Created", c.created_at_ns / 1'000'000'000},
            {"Ports", Json::array()},
            {"Labels", c.config.labels},
            {"State", to_string(c.state)},
            {"Status", status_text(c, engine::realtime_ns(), health)},
            {"HostConfig", {{"NetworkMode", c.config.network_mode}}},
            {"NetworkSettings", {{"Networks", networks_json(c.config)}}},
            {"Mounts", Json::array()}};
}

/// What filters there are, with the containers and images that some of them name looked up.
struct Wanted {
    Filters filters;
    std::vector<NamePattern> names;
    std::vector<std::string> ancestors;  // ids
    uint64_t before_ns = UINT64_MAX;
    uint64_t since_ns = 0;
};

Result<Wanted> read_filters(const Call& call, engine::Engine& engine, engine::Images& images) {
    Wanted wanted;
    TRY_ASSIGN(wanted.filters, call.filters(kKnown));
    for (const std::string& status : wanted.filters.get("status")) {
        if (!engine::parse_state(status) && status != "removing") {
            return Error{ErrorCode::kInvalid,
                         "invalid filter 'status=" + status.substr(0, 64) + "'"};
        }
    }
    for (const std::string& code : wanted.filters.get("exited")) {
        if (code.empty() || code.find_first_not_of("0123456789") != std::string::npos) {
            return Error{ErrorCode::kInvalid, "invalid filter 'exited=" + code.substr(0, 64) + "'"};
        }
    }
    for (const std::string& image : wanted.filters.get("ancestor")) {
        const auto id = images.id_of(image);
        wanted.ancestors.push_back(id ? id.value() : image);
    }
    for (const std::string& name : wanted.filters.get("name")) {
        TRY_ASSIGN(NamePattern pattern, NamePattern::compile(name));
        wanted.names.push_back(std::move(pattern));
    }
    for (const std::string& name : wanted.filters.get("before")) {
        TRY_ASSIGN(const Container other, engine.find(name));
        wanted.before_ns = std::min(wanted.before_ns, other.created_at_ns);
    }
    for (const std::string& name : wanted.filters.get("since")) {
        TRY_ASSIGN(const Container other, engine.find(name));
        wanted.since_ns = std::max(wanted.since_ns, other.created_at_ns);
    }
    return wanted;
}

/// By the image's name as it was given, or by what the name means now.
bool has_ancestor(const Container& c, const Wanted& wanted) {
    const auto& ids = wanted.ancestors;
    return std::find(ids.begin(), ids.end(), c.image_id) != ids.end() ||
           wanted.filters.any("ancestor", [&](const auto& name) { return name == c.config.image; });
}

bool matches(const Container& c, const Wanted& wanted, const std::string& health) {
    const Filters& f = wanted.filters;
    const std::string_view network = engine::network_name(c.config);
    return c.created_at_ns < wanted.before_ns &&
           (wanted.since_ns == 0 || c.created_at_ns > wanted.since_ns) &&
           f.labels_match(c.config.labels) &&
           f.any("id", [&](const auto& id) { return c.id.starts_with(id); }) &&
           f.any("status", [&](const auto& status) { return to_string(c.state) == status; }) &&
           f.any("exited",
                 [&](const auto& code) {
                     return c.state == engine::State::kExited &&
                            std::to_string(c.exit_code) == code;
                 }) &&
           f.any("health",
                 [&](const auto& h) { return (health.empty() ? "none" : health) == h; }) &&
           f.any("network", [&](const auto& name) { return name == network; }) &&
           has_ancestor(c, wanted) && f.any("volume", [](const auto&) { return false; }) &&
           f.any("publish", [](const auto&) { return false; }) &&
           f.any("is-task", [](const auto& value) { return value == "false" || value == "0"; }) &&
           f.any("expose",
                 [&](const auto& port) {
                     const auto& ports = c.config.exposed_ports;
                     return std::find(ports.begin(), ports.end(), port) != ports.end() ||
                            std::find(ports.begin(), ports.end(), port + "/tcp") != ports.end();
                 }) &&
           (wanted.names.empty() ||
            std::any_of(wanted.names.begin(), wanted.names.end(), [&](const NamePattern& pattern) {
                return pattern.matches(c.name) || pattern.matches("/" + c.name);
            }));
}

}  // namespace

Status list_containers(const Call& call) {
    TRY_ASSIGN(const auto limit, call.number("limit"));
    TRY_ASSIGN(auto engine, call.daemon.engines.borrow());
    TRY_ASSIGN(const Wanted wanted, read_filters(call, engine.engine(), engine.images()));
    TRY_ASSIGN(const auto containers, engine->list());
    const bool limited = limit && *limit > 0;
    const bool all = call.flag("all") || limited || wanted.filters.has("status") ||
                     wanted.filters.has("exited") || wanted.filters.has("before") ||
                     wanted.filters.has("since");
    const bool with_size = call.flag("size");
    Json list = Json::array();
    for (const Container& c : containers) {
        if (limited && list.size() >= static_cast<size_t>(*limit)) break;
        if (!engine::is_active(c.state) && !all) continue;
        const std::string health = call.daemon.health.status(c.id);
        if (!matches(c, wanted, health)) continue;
        list.push_back(summary(c, health));
        if (with_size) add_size(list.back(), c, engine.images(), call.daemon.paths);
    }
    return call.answer(200, list);
}

}  // namespace drupe::endpoints
