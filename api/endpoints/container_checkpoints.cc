// POST and GET /containers/{id}/checkpoints, DELETE /containers/{id}/checkpoints/{checkpoint}

#include "api/daemon/container_event.h"
#include "api/endpoints/containers.h"
#include "api/engine/time_text.h"
#include "base/json_reader.h"

namespace drupe::endpoints {
namespace {

void publish(const Call& call, const engine::Container& container, const char* action) {
    call.daemon.events.publish(daemon::container_event(container, action));
}

}  // namespace

Status refuse_checkpoint_folder(const std::string& folder) {
    if (folder.empty()) return ok();
    return Error{ErrorCode::kUnsupported,
                 "checkpoint-dir: not supported: a checkpoint is kept with its container"};
}

Status create_checkpoint(const Call& call) {
    TRY_ASSIGN(const auto body, call.body());
    engine::CheckpointRequest request;
    std::string folder;
    JsonReader in(body);
    in.get("CheckpointID", request.name);
    in.get("CheckpointDir", folder);
    in.get("Exit", request.stop);
    TRY(in.status());
    TRY(refuse_checkpoint_folder(folder));
    TRY_ASSIGN(auto engine, call.daemon.engines.borrow());
    TRY_ASSIGN(const engine::Container container, engine->find(call.id()));
    TRY(engine->create_checkpoint(container.id, request));
    call.daemon.maintenance.ask();
    publish(call, container, "checkpoint");
    return call.answer(201);
}

/// With Drupe's own Created and Size.
Status list_checkpoints(const Call& call) {
    TRY(refuse_checkpoint_folder(call.text("dir")));
    TRY_ASSIGN(auto engine, call.daemon.engines.borrow());
    TRY_ASSIGN(const auto checkpoints, engine->checkpoints(call.id()));
    Json list = Json::array();
    for (const engine::Checkpoint& checkpoint : checkpoints) {
        list.push_back({{"Name", checkpoint.name},
                        {"Created", engine::time_text(checkpoint.created_at_ns)},
                        {"Size", checkpoint.stored_bytes}});
    }
    return call.answer(200, list);
}

Status remove_checkpoint(const Call& call) {
    TRY(refuse_checkpoint_folder(call.text("dir")));
    TRY_ASSIGN(auto engine, call.daemon.engines.borrow());
    TRY(engine->remove_checkpoint(call.id(), call.path.at("checkpoint")));
    return call.answer(204);
}

}  // namespace drupe::endpoints
