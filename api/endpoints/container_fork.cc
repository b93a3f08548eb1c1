// POST /containers/{id}/fork: Drupe's own.

#include <algorithm>
#include <list>

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

/// Whether it runs. The supervisor sees to it either way.
Result<bool> see_started(const Call& call, engine::Engine& engine, engine::Machine machine) {
    const engine::Container container = machine.container;
    call.daemon.events.publish(daemon::container_event(container, "create"));
    auto started = engine.await_started(machine);
    if (!started || started.value()) {
        call.daemon.events.publish(daemon::container_event(container, "start"));
        call.daemon.supervisor.watch(std::move(machine));
        return started;
    }
    TRY_ASSIGN(const engine::Ended ended, call.daemon.supervisor.conclude(std::move(machine)));
    return Error{ErrorCode::kIo, "a copy of it ended: " + ended.record.error};
}

}  // namespace

/// Answers when all of them run.
Status fork_container(const Call& call) {
    TRY_ASSIGN(const engine::ForkRequest request, request_of(call));
    TRY_ASSIGN(auto engine, call.daemon.engines.borrow());
    TRY_ASSIGN(engine::Forked forked, engine->fork(call.id(), request));
    call.daemon.maintenance.ask();
    std::list<daemon::Supervisor::Claim> claims;  // a scan doesn't watch them, too
    for (const engine::Machine& machine : forked.clones)
        claims.emplace_back(call.daemon.supervisor, machine.container.id);
    Json ids = Json::array();
    for (engine::Machine& machine : forked.clones) {
        const std::string id = machine.container.id;
        auto started = see_started(call, engine.engine(), std::move(machine));
        if (started) {
            ids.push_back(id);
        } else if (!forked.failure) {  // the others are there, whatever became of it
            forked.failure = std::move(started).error();
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
