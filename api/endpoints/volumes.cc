// /volumes: named folders; no container mounts one yet.

#include "api/endpoints/volumes.h"

#include "api/daemon/volumes.h"
#include "api/engine/time_text.h"
#include "base/json_reader.h"

namespace drupe::endpoints {
namespace {

using daemon::Volume;
using daemon::Volumes;

Json to_json(const Volume& volume) {
    return {{"CreatedAt",
             engine::time_text(volume.created_at_ns - volume.created_at_ns % 1'000'000'000)},
            {"Driver", "local"},
            {"Labels", volume.labels.empty() ? Json() : Json(volume.labels)},
            {"Mountpoint", volume.mountpoint},
            {"Name", volume.name},
            {"Options", nullptr},
            {"Scope", "local"}};
}

void publish(const Call& call, const Volume& volume, const char* action) {
    call.daemon.events.publish({"volume", action, volume.name, {{"driver", "local"}}, 0});
}

}  // namespace

Status list_volumes(const Call& call) {
    TRY_ASSIGN(const Filters filters,
               call.filters({"dangling", "driver", "label", "label!", "name"}));
    TRY_ASSIGN(const auto dangling, filters.boolean("dangling"));
    TRY_ASSIGN(auto engine, call.daemon.engines.borrow());
    TRY_ASSIGN(Volumes volumes, Volumes::open(engine.images().database(), call.daemon.paths.root));
    TRY_ASSIGN(const auto all, volumes.list());
    Json list = Json::array();
    for (const Volume& volume : all) {
        const bool wanted =
            dangling.value_or(true) && filters.labels_match(volume.labels) &&
            filters.any("driver", [](const auto& driver) { return driver == "local"; }) &&
            filters.any("name", [&](const auto& name) {
                return volume.name.find(name) != std::string::npos;
            });
        if (wanted) list.push_back(to_json(volume));
    }
    return call.answer(200, {{"Volumes", list}, {"Warnings", nullptr}});
}

Status inspect_volume(const Call& call) {
    TRY_ASSIGN(auto engine, call.daemon.engines.borrow());
    TRY_ASSIGN(Volumes volumes, Volumes::open(engine.images().database(), call.daemon.paths.root));
    TRY_ASSIGN(const Volume volume, volumes.find(call.id()));
    return call.answer(200, to_json(volume));
}

Status create_volume(const Call& call) {
    TRY_ASSIGN(const auto body, call.body());
    std::string name;
    std::string driver;
    std::map<std::string, std::string> labels;
    JsonReader in(body);
    in.get("Name", name);
    in.get("Driver", driver);
    const auto* options = in.object("DriverOpts");
    const auto* given = in.object("Labels");
    TRY(in.status());
    if (!driver.empty() && driver != "local") {
        return Error{ErrorCode::kNotFound, "create " + name.substr(0, 64) +
                                               ": error looking up volume plugin " +
                                               driver.substr(0, 64) + ": plugin \"" +
                                               driver.substr(0, 64) + "\" not found"};
    }
    if (options != nullptr && !options->empty()) {
        return Error{ErrorCode::kUnsupported, "DriverOpts: the local driver takes none yet"};
    }
    if (given != nullptr) {
        for (const auto& [label, value] : given->items()) {
            if (!value.is_string()) return Error{ErrorCode::kInvalid, "Labels: texts are expected"};
            labels[label] = value.get<std::string>();
        }
    }
    TRY_ASSIGN(auto engine, call.daemon.engines.borrow());
    TRY_ASSIGN(Volumes volumes, Volumes::open(engine.images().database(), call.daemon.paths.root));
    TRY_ASSIGN(const Volume volume, volumes.create(name, labels));
    if (volume.is_new) publish(call, volume, "create");
    return call.answer(201, to_json(volume));
}

Status delete_volume(const Call& call) {
    TRY_ASSIGN(auto engine, call.daemon.engines.borrow());
    TRY_ASSIGN(Volumes volumes, Volumes::open(engine.images().database(), call.daemon.paths.root));
    auto volume = volumes.find(call.id());
    if (!volume && call.flag("force")) return call.answer(204);
    if (!volume) return volume.error();
    TRY(volumes.remove(volume.value().name));
    publish(call, volume.value(), "destroy");
    return call.answer(204);
}

Status prune_volumes(const Call& call) {
    TRY_ASSIGN(const Filters filters, call.filters({"all", "label", "label!"}));
    TRY_ASSIGN(const auto all, filters.boolean("all"));
    TRY_ASSIGN(auto engine, call.daemon.engines.borrow());
    TRY_ASSIGN(Volumes volumes, Volumes::open(engine.images().database(), call.daemon.paths.root));
    TRY_ASSIGN(const auto list, volumes.list());
    Json deleted = Json::array();
    uint64_t freed = 0;
    for (const Volume& volume : list) {
        if (!volume.anonymous && !all.value_or(false)) continue;
        if (!filters.labels_match(volume.labels)) continue;
        const auto bytes = volumes.bytes(volume);
        TRY(volumes.remove(volume.name));
        publish(call, volume, "destroy");
        deleted.push_back(volume.name);
        freed += bytes ? bytes.value() : 0;
    }
    return call.answer(200, {{"VolumesDeleted", deleted}, {"SpaceReclaimed", freed}});
}

Result<Json> volume_usage(const Call& call, engine::Images& images) {
    TRY_ASSIGN(Volumes volumes, Volumes::open(images.database(), call.daemon.paths.root));
    TRY_ASSIGN(const auto all, volumes.list());
    Json list = Json::array();
    for (const Volume& volume : all) {
        TRY_ASSIGN(const uint64_t bytes, volumes.bytes(volume));
        Json json = to_json(volume);
        json["UsageData"] = {{"RefCount", 0}, {"Size", bytes}};
        list.push_back(json);
    }
    return list;
}

}  // namespace drupe::endpoints
