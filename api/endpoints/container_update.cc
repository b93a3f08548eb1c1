// POST /containers/{id}/pause, unpause, rename, update

#include "api/daemon/container_event.h"
#include "api/endpoints/containers.h"
#include "api/endpoints/create_body.h"
#include "api/endpoints/refused_options.h"
#include "api/endpoints/resource_limits.h"
#include "base/json_reader.h"

namespace drupe::endpoints {
namespace {

using daemon::container_event;
using engine::Container;

Result<engine::ContainerChanges> parse_changes(const nlohmann::json& body) {
    engine::ContainerChanges changes;
    TRY(refuse_options(body));
    TRY_ASSIGN(const ResourceLimits limits, parse_resource_limits(body));
    changes.memory_bytes = limits.memory_bytes;
    changes.nano_cpus = limits.nano_cpus;
    changes.pids_limit = limits.pids_limit;
    JsonReader in(body);
    const auto* restart = in.object("RestartPolicy");
    TRY(in.status());
    if (restart != nullptr && restart->contains("Name") && (*restart)["Name"] != "") {
        TRY_ASSIGN(changes.restart, parse_restart_policy(*restart));
    }
    return changes;
}

}  // namespace

Status pause_container(const Call& call) {
    TRY_ASSIGN(auto engine, call.daemon.engines.borrow());
    TRY_ASSIGN(const Container container, engine->find(call.id()));
    TRY(engine->pause(container.id));
    call.daemon.events.publish(container_event(container, "pause"));
    return call.answer(204);
}

Status unpause_container(const Call& call) {
    TRY_ASSIGN(auto engine, call.daemon.engines.borrow());
    TRY_ASSIGN(const Container container, engine->find(call.id()));
    TRY(engine->unpause(container.id));
    call.daemon.events.publish(container_event(container, "unpause"));
    return call.answer(204);
}

Status rename_container(const Call& call) {
    std::string name = call.text("name");
    if (name.starts_with('/')) name.erase(0, 1);
    if (name.empty()) return Error{ErrorCode::kInvalid, "Neither old nor new names may be empty"};
    TRY_ASSIGN(auto engine, call.daemon.engines.borrow());
    TRY_ASSIGN(Container container, engine->find(call.id()));
    if (container.name == name) {
        return Error{ErrorCode::kInvalid,
                     "Renaming a container with the same name as its current name"};
    }
    TRY(engine->rename(container.id, name));
    const std::string before = "/" + container.name;
    container.name = name;
    call.daemon.events.publish(container_event(container, "rename", {{"oldName", before}}));
    return call.answer(204);
}

Status update_container(const Call& call) {
    TRY_ASSIGN(const auto body, call.body());
    TRY_ASSIGN(const engine::ContainerChanges changes, parse_changes(body));
    TRY_ASSIGN(auto engine, call.daemon.engines.borrow());
    TRY_ASSIGN(const Container container, engine->update(call.id(), changes));
    call.daemon.events.publish(container_event(container, "update"));
    return call.answer(200, {{"Warnings", nullptr}});
}

}  // namespace drupe::endpoints
