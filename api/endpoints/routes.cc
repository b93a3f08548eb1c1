#include "api/endpoints/routes.h"

#include "api/endpoints/containers.h"
#include "api/endpoints/images.h"
#include "api/endpoints/networks.h"
#include "api/endpoints/refused.h"
#include "api/endpoints/system.h"
#include "api/endpoints/volumes.h"

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
    {"POST", "/containers/{id}/pause", pause_container},
    {"POST", "/containers/{id}/unpause", unpause_container},
    {"POST", "/containers/{id}/rename", rename_container},
    {"POST", "/containers/{id}/update", update_container},
    {"GET", "/containers/{id}/top", container_top},
    {"GET", "/containers/{id}/stats", container_stats},
    {"GET", "/containers/{id}/logs", container_logs},
    {"DELETE", "/containers/{id}", remove_container},
    {"HEAD", "/containers/{id}/archive", stat_archive},
    {"GET", "/containers/{id}/archive", get_archive},
    {"PUT", "/containers/{id}/archive", put_archive},
    {"GET", "/containers/{id}/changes", container_changes},
    {"GET", "/containers/{id}/export", export_container},
    {"POST", "/containers/{id}/fork", fork_container},
    {"POST", "/commit", commit_container},
    {"POST", "/containers/{id}/exec", create_exec},
    {"POST", "/exec/{id}/start", start_exec},
    {"POST", "/exec/{id}/resize", resize_exec},
    {"GET", "/exec/{id}/json", inspect_exec},

    {"GET", "/images/json", list_images},
    {"POST", "/images/create", create_image},
    {"POST", "/images/load", load_images},
    {"POST", "/images/prune", prune_images},
    {"GET", "/images/get", save_images},
    {"GET", "/images/search", refuse_search},
    {"GET", "/images/{name...}/json", inspect_image},
    {"GET", "/images/{name...}/history", image_history},
    {"GET", "/images/{name...}/get", save_image},
    {"POST", "/images/{name...}/push", push_image},
    {"POST", "/images/{name...}/tag", tag_image},
    {"DELETE", "/images/{name...}", delete_image},
    {"GET", "/distribution/{name...}/json", refuse_distribution},
    {"POST", "/auth", check_auth},
    {"GET", "/system/df", system_df},

    {"GET", "/networks", list_networks},
    {"POST", "/networks/create", create_network},
    {"POST", "/networks/prune", prune_networks},
    {"GET", "/networks/{id}", inspect_network},
    {"DELETE", "/networks/{id}", delete_network},
    {"POST", "/networks/{id}/connect", connect_network},
    {"POST", "/networks/{id}/disconnect", connect_network},
    {"GET", "/volumes", list_volumes},
    {"POST", "/volumes/create", create_volume},
    {"POST", "/volumes/prune", prune_volumes},
    {"GET", "/volumes/{id}", inspect_volume},
    {"DELETE", "/volumes/{id}", delete_volume},

    {"POST", "/grpc", refuse_session},
    {"POST", "/session", refuse_session},
    {"POST", "/build", refuse_build},
    {"POST", "/build/prune", prune_build},
    {"GET", "/containers/{id}/checkpoints", list_checkpoints},
    {"POST", "/containers/{id}/checkpoints", create_checkpoint},
    {"DELETE", "/containers/{id}/checkpoints/{checkpoint}", remove_checkpoint},
    {"GET", "/plugins", no_plugins},
    {"GET", "/plugins/privileges", refuse_plugins},
    {"POST", "/plugins/{rest...}", refuse_plugins},
    {"GET", "/plugins/{rest...}", refuse_plugins},
    {"DELETE", "/plugins/{rest...}", refuse_plugins},
    {"GET", "/swarm", refuse_swarm},
    {"GET", "/swarm/unlockkey", refuse_swarm},
    {"POST", "/swarm/{rest...}", refuse_swarm},
    {"GET", "/nodes", refuse_swarm},
    {"GET", "/nodes/{rest...}", refuse_swarm},
    {"POST", "/nodes/{rest...}", refuse_swarm},
    {"DELETE", "/nodes/{rest...}", refuse_swarm},
    {"GET", "/services", refuse_swarm},
    {"POST", "/services/{rest...}", refuse_swarm},
    {"GET", "/services/{rest...}", refuse_swarm},
    {"DELETE", "/services/{rest...}", refuse_swarm},
    {"GET", "/tasks", refuse_swarm},
    {"GET", "/tasks/{rest...}", refuse_swarm},
    {"GET", "/secrets", refuse_swarm},
    {"POST", "/secrets/{rest...}", refuse_swarm},
    {"GET", "/secrets/{rest...}", refuse_swarm},
    {"DELETE", "/secrets/{rest...}", refuse_swarm},
    {"GET", "/configs", refuse_swarm},
    {"POST", "/configs/{rest...}", refuse_swarm},
    {"GET", "/configs/{rest...}", refuse_swarm},
    {"DELETE", "/configs/{rest...}", refuse_swarm},
};

}  // namespace

void add_routes(http::Router& router, daemon::Daemon& daemon) {
    for (const Route& route : kRoutes) {
        add(router, daemon, route.method, route.pattern, route.endpoint);
    }
}

}  // namespace drupe::endpoints
