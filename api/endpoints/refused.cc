#include "api/endpoints/refused.h"

#include "api/endpoints/refused_options.h"

namespace drupe::endpoints {

Status refuse_build(const Call&) {
    return not_yet("build");
}

Status refuse_session(const Call&) {
    return Error{ErrorCode::kNotFound, "page not found"};
}

Status refuse_swarm(const Call& call) {
    return call.answer(503,
                       {{"message",
                         "This node is not a swarm manager. Use \"docker swarm init\" or "
                         "\"docker swarm join\" to connect this node to swarm and try again."}});
}

Status refuse_plugins(const Call&) {
    return Error{ErrorCode::kUnsupported, "plugins: not supported"};
}

Status no_plugins(const Call& call) {
    return call.answer(200, Json::array());
}

Status refuse_search(const Call&) {
    return Error{ErrorCode::kUnsupported,
                 "search: not supported; look at the registry's own pages"};
}

Status refuse_distribution(const Call&) {
    return not_yet("distribution: to look an image up in its registry without pulling it");
}

Status prune_build(const Call& call) {
    return call.answer(200, {{"CachesDeleted", nullptr}, {"SpaceReclaimed", 0}});
}

}  // namespace drupe::endpoints
