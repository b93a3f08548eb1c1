#pragma once

#include "api/daemon/daemon.h"
#include "api/server/router.h"

namespace drupe::endpoints {

/// The API: which endpoint answers what. daemon outlives the router.
void add_routes(http::Router& router, daemon::Daemon& daemon);

}  // namespace drupe::endpoints
