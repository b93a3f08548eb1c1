#pragma once

#include "api/endpoints/call.h"

namespace drupe::endpoints {

// What Docker's API has and a single host's microVMs don't: answered so that clients know it.
Status refuse_build(const Call& call);
Status refuse_session(const Call& call);  // /grpc, /session: clients fall back
Status refuse_swarm(const Call& call);    // as a node that isn't in a swarm
Status refuse_plugins(const Call& call);
Status no_plugins(const Call& call);
Status refuse_search(const Call& call);
Status refuse_distribution(const Call& call);
Status prune_build(const Call& call);

}  // namespace drupe::endpoints
