// POST /containers/{id}/pause, unpause, rename, update

#include "api/daemon/container_event.h"
#include "api/endpoints/containers.h"
#include "api/endpoints/create_body.h"
#include "api/endpoints/refused_options.h"
#include "base/json_reader.h"

namespace drupe::endpoints {
namespace {

using daemon::container_event;
using engine::Container;

/// A member of resources that is a number, if it is there and says something.
Status read_limit(JsonReader& in, const nlohmann::json& body, const char* name,
                  std::optional<uint64_t>& out) {
    const auto found = body.find(name);
    if (found == body.end() || found->is_null()) return ok();
    int64_t value = 0;
    in.get(name, value);
    TRY(in.status());
    if (value > 0) out = static_cast<uint64_t>(value);
    if (value < 0 && std::string_view(name) == "PidsLimit") out = 0;  // no limit
    return ok();
}

Result<engine::ContainerChanges> parse_changes(const nlohmann::json& body) {
    engine::ContainerChanges changes;
    JsonReader in(body);
    TRY(refuse_options(body));
    TRY(read_limit(in, body, "Memory", changes.memory_bytes));
    TRY(read_limit(in, body, "NanoCpus", changes.nano_cpus));
    TRY(read_limit(in, body, "PidsLimit", changes.pids_limit));
    const auto* restart = in.object("RestartPolicy");
    int64_t quota = 0;
    in.get("CpuQuota", quota);
    TRY(in.status());
    if (quota > 0) {
        int64_t period = 0;
        in.get("CpuPeriod", period);
        TRY(in.status());
        if (period <= 0) period = 100'000;
        changes.nano_cpus =
            static_cast<uint64_t>(quota) * 1'000'000'000 / static_cast<uint64_t>(period);
    }
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
