// POST /containers/{id}/fork: Drupe's own.

#include <algorithm>

#include "api/daemon/container_event.h"
#include "api/endpoints/containers.h"

namespace drupe::endpoints {
namespace {

Result<engine::ForkRequest> request_of(const Call& call) {
    engine::ForkRequest request;
    TRY_ASSIGN(const auto count, call.number("count"));
    if (count && (*count < 1 || *count > engine::kMaxClones)) {
        return Error{ErrorCode::kInvalid, "count: 1 to 1000 copies can be made at a time"};
    }
    request.count = static_cast<uint32_t>(count.value_or(1));
    request.name = call.text("name");
    return request;
}

}  // namespace

/// Answers when all of them run.
Status fork_container(const Call& call) {
    TRY_ASSIGN(const engine::ForkRequest request, request_of(call));
    TRY_ASSIGN(auto engine, call.daemon.engines.borrow());
    TRY_ASSIGN(engine::Forked forked, engine->fork(call.id(), request));
    Json ids = Json::array();
    for (engine::Machine& machine : forked.clones) {
        call.daemon.events.publish(daemon::container_event(machine.container, "create"));
        TRY_ASSIGN(const bool started, engine->await_started(machine));
        if (started) {
            ids.push_back(machine.container.id);
            call.daemon.events.publish(daemon::container_event(machine.container, "start"));
            call.daemon.supervisor.watch(std::move(machine));
            continue;
        }
        TRY_ASSIGN(const engine::Ended ended, call.daemon.supervisor.conclude(std::move(machine)));
        if (!forked.failure) {
            forked.failure = Error{ErrorCode::kIo, "a copy of it ended: " + ended.record.error};
        }
    }
    if (ids.empty() && forked.failure) return *forked.failure;
    Json marks = Json::object();
    for (const auto& [name, ns] : forked.marks) marks[name] = ns;
    return call.answer(201, {{"Ids", ids},
                             {"Failure", forked.failure ? forked.failure->message : ""},
                             {"Marks", marks}});
}

}  // namespace drupe::endpoints
