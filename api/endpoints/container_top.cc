// GET /containers/{id}/top

#include "api/daemon/container_event.h"
#include "api/endpoints/containers.h"

namespace drupe::endpoints {

Status container_top(const Call& call) {
    TRY_ASSIGN(auto engine, call.daemon.engines.borrow());
    TRY_ASSIGN(const engine::Container container, engine->find(call.id()));
    TRY_ASSIGN(const engine::ProcessTable table, engine->top(container.id, call.text("ps_args")));
    call.daemon.events.publish(daemon::container_event(container, "top"));
    return call.answer(200, {{"Processes", table.rows}, {"Titles", table.titles}});
}

}  // namespace drupe::endpoints
