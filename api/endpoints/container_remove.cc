// DELETE /containers/{id}; POST /containers/prune

#include "api/daemon/container_event.h"
#include "api/endpoints/containers.h"
#include "api/engine/clock.h"
#include "api/engine/storage.h"
#include "api/engine/time_text.h"

namespace drupe::endpoints {
namespace {

using engine::Container;
using engine::State;

void publish_destroy(const Call& call, const Container& container) {
    call.daemon.events.publish(daemon::container_event(container, "destroy"));
}

}  // namespace

Status remove_container(const Call& call) {
    if (call.flag("link")) {
        return Error{ErrorCode::kUnsupported, "links between containers are not supported"};
    }
    TRY_ASSIGN(auto engine, call.daemon.engines.borrow());
    TRY_ASSIGN(const Container container, engine->find(call.id()));
    const bool force = call.flag("force");
    if (force) {
        TRY(engine->amend(container.id, [](Container& now) { now.stopped_by_user = true; }));
    }
    TRY(engine->remove(container.id, force));
    publish_destroy(call, container);
    call.daemon.removed(container.id);
    return call.answer(204);
}

Status prune_containers(const Call& call) {
    TRY_ASSIGN(const Filters filters, call.filters({"until", "label", "label!"}));
    uint64_t until_ns = UINT64_MAX;
    for (const std::string& text : filters.get("until")) {
        const auto moment = engine::parse_moment(text, engine::realtime_ns());
        if (!moment)
            return Error{ErrorCode::kInvalid, "invalid filter 'until=" + text.substr(0, 64) + "'"};
        until_ns = *moment;
    }
    TRY_ASSIGN(auto engine, call.daemon.engines.borrow());
    TRY_ASSIGN(const auto containers, engine->list());
    Json deleted;
    uint64_t bytes = 0;
    for (const Container& c : containers) {
        const bool idle =
            c.state == State::kCreated || c.state == State::kExited || c.state == State::kDead;
        if (!idle || c.created_at_ns > until_ns || !filters.labels_match(c.config.labels)) continue;
        const auto usage = container_usage(c, engine.images(), call.daemon.paths);
        if (!engine->remove(c.id, false)) continue;  // it has just been started
        publish_destroy(call, c);
        call.daemon.removed(c.id);
        deleted.push_back(c.id);
        bytes += usage ? usage.value().total_bytes() : 0;
    }
    return call.answer(200, {{"ContainersDeleted", deleted}, {"SpaceReclaimed", bytes}});
}

}  // namespace drupe::endpoints
