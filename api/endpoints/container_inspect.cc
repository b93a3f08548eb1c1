// GET /containers/{id}/json

#include "api/endpoints/container_size.h"
#include "api/endpoints/containers.h"
#include "api/engine/inspect.h"

namespace drupe::endpoints {

Status inspect_container(const Call& call) {
    TRY_ASSIGN(auto engine, call.daemon.engines.borrow());
    TRY_ASSIGN(const engine::Container container, engine->find(call.id()));
    Json json = engine::container_json(container, call.daemon.paths.log_file(container.id));
    if (const Json health = call.daemon.health.json(container.id); !health.is_null()) {
        json["State"]["Health"] = health;
    }
    if (const auto execs = call.daemon.execs.of_container(container.id); !execs.empty()) {
        json["ExecIDs"] = execs;
    }
    if (call.flag("size")) add_size(json, container, engine.images(), call.daemon.paths);
    return call.answer(200, json);
}

}  // namespace drupe::endpoints
