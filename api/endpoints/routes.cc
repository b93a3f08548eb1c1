#include "api/endpoints/routes.h"

#include "api/endpoints/containers.h"
#include "api/endpoints/system.h"

namespace drupe::endpoints {
namespace {

struct Route {
    std::string_view method;
    std::string_view pattern;
    Endpoint endpoint;
};

constexpr Route kRoutes[] = {
    {"HEAD", "/_ping", ping},
    {"GET", "/_ping", ping},
    {"GET", "/version", version},
    {"GET", "/info", info},
    {"GET", "/events", system_events},

    {"GET", "/containers/json", list_containers},
    {"POST", "/containers/create", create_container},
    {"POST", "/containers/prune", prune_containers},
    {"GET", "/containers/{id}/json", inspect_container},
    {"POST", "/containers/{id}/start", start_container},
    {"POST", "/containers/{id}/stop", stop_container},
    {"POST", "/containers/{id}/restart", restart_container},
    {"POST", "/containers/{id}/kill", kill_container},
    {"POST", "/containers/{id}/wait", wait_container},
    {"POST", "/containers/{id}/attach", attach_container},
    {"POST", "/containers/{id}/resize", resize_container},
    {"GET", "/containers/{id}/logs", container_logs},
    {"DELETE", "/containers/{id}", remove_container},
    {"POST", "/containers/{id}/exec", create_exec},
    {"POST", "/exec/{id}/start", start_exec},
    {"POST", "/exec/{id}/resize", resize_exec},
    {"GET", "/exec/{id}/json", inspect_exec},
};

}  // namespace

void add_routes(http::Router& router, daemon::Daemon& daemon) {
    for (const Route& route : kRoutes) {
        add(router, daemon, route.method, route.pattern, route.endpoint);
    }
}

}  // namespace drupe::endpoints
