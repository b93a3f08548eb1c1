// GET /system/df

#include <algorithm>

#include "api/endpoints/system.h"
#include "api/endpoints/volumes.h"
#include "api/engine/clock.h"
#include "api/engine/status_text.h"
#include "api/engine/storage.h"

namespace drupe::endpoints {
namespace {

Json image_json(const engine::ImageUsage& usage) {
    const auto& image = usage.image;
    return {{"Containers", usage.containers},
            {"Created", image.created_s},
            {"Id", image.id},
            {"Labels", image.labels.empty() ? Json() : Json(image.labels)},
            {"ParentId", ""},
            {"RepoDigests", nullptr},
            {"RepoTags", image.references},
            {"SharedSize", usage.shared_bytes},
            {"Size", usage.shared_bytes + usage.unique_bytes}};
}

Json container_json(const engine::ContainerUsage& usage) {
    const engine::Container& c = usage.container;
    return {{"Id", c.id},
            {"Names", {"/" + c.name}},
            {"Image", c.config.image},
            {"ImageID", c.image_id},
            {"Command", engine::command_text(c.config)},
            {"Created", c.created_at_ns / 1'000'000'000},
            {"Ports", Json::array()},
            {"SizeRw", usage.total_bytes()},
            {"Labels", c.config.labels},
            {"State", to_string(c.state)},
            {"Status", status_text(c, engine::realtime_ns())},
            {"HostConfig", {{"NetworkMode", c.config.network_mode}}},
            {"NetworkSettings", {{"Networks", Json::object()}}},
            {"Mounts", Json::array()}};
}

}  // namespace

Status system_df(const Call& call) {
    const auto types = call.list("type");
    for (const std::string& type : types) {
        if (type != "container" && type != "image" && type != "volume" && type != "build-cache") {
            return Error{ErrorCode::kInvalid, "unknown object type: " + type.substr(0, 64)};
        }
    }
    const auto wanted = [&](std::string_view type) {
        return types.empty() || std::find(types.begin(), types.end(), type) != types.end();
    };
    TRY_ASSIGN(auto engine, call.daemon.engines.borrow());
    TRY_ASSIGN(const auto report, storage_report(engine.images(), engine.engine()));
    Json images = Json::array();
    Json containers = Json::array();
    for (const auto& image : report.images) {
        if (wanted("image")) images.push_back(image_json(image));
    }
    for (const auto& container : report.containers) {
        if (wanted("container")) containers.push_back(container_json(container));
    }
    Json volumes = Json::array();
    if (wanted("volume")) {
        TRY_ASSIGN(volumes, volume_usage(call, engine.images()));
    }
    return call.answer(200, {{"LayersSize", wanted("image") ? report.disk.layer_bytes : 0},
                             {"Images", images},
                             {"Containers", containers},
                             {"Volumes", volumes},
                             {"BuildCache", Json::array()}});
}

}  // namespace drupe::endpoints
