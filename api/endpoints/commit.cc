// POST /commit

#include "api/daemon/container_event.h"
#include "api/endpoints/changes.h"
#include "api/endpoints/containers.h"

namespace drupe::endpoints {
namespace {

/// "repo" and "tag" as one name; empty: the image has none.
std::string name_of(const Call& call) {
    const std::string repo = call.text("repo");
    const std::string tag = call.text("tag");
    return repo.empty() || tag.empty() ? repo : repo + ":" + tag;
}

}  // namespace

Status commit_container(const Call& call) {
    engine::CommitRequest request;
    request.reference = name_of(call);
    request.words.author = call.text("author");
    request.words.comment = call.text("comment");
    request.words.changes = changes_of(call);
    request.pause = call.flag("pause", true);
    TRY_ASSIGN(const auto body, call.body());
    static_cast<void>(body);  // the container's own configuration counts, as with the CLI's
    TRY_ASSIGN(auto engine, call.daemon.engines.borrow());
    TRY_ASSIGN(const engine::Container container, engine->find(call.text("container")));
    TRY_ASSIGN(const engine::Committed committed, engine->commit(container.id, request));
    call.daemon.events.publish(daemon::container_event(container, "commit",
                                                       {{"comment", request.words.comment},
                                                        {"imageID", committed.image_id},
                                                        {"imageRef", request.reference}}));
    return call.answer(201, {{"Id", committed.image_id}});
}

}  // namespace drupe::endpoints
