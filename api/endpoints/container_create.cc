// POST /containers/create

#include "api/daemon/container_event.h"
#include "api/daemon/networks.h"
#include "api/endpoints/container_network.h"
#include "api/endpoints/containers.h"
#include "api/endpoints/create_body.h"
#include "api/endpoints/platform.h"

namespace drupe::endpoints {

Status create_container(const Call& call) {
    TRY(check_platform(call.text("platform")));
    TRY_ASSIGN(const auto body, call.body());
    TRY_ASSIGN(engine::ContainerConfig config, parse_create_body(body));
    TRY_ASSIGN(const NetworkEndpoint endpoint, parse_endpoint(body));
    config.network_aliases = endpoint.aliases;
    Json warnings = Json::array();
    TRY_ASSIGN(auto engine, call.daemon.engines.borrow());
    const bool named = !endpoint.network.empty() && endpoint.network != "default";
    if (named || config.network_mode != "default") {
        TRY_ASSIGN(auto networks, daemon::Networks::open(engine.images().database()));
        TRY(choose_network(networks, endpoint.network, config));
    }
    std::string name = call.text("name");
    if (name.starts_with('/')) name.erase(0, 1);  // as inspect shows it
    TRY_ASSIGN(const engine::Container container, engine->create(std::move(config), name));
    call.daemon.events.publish(daemon::container_event(container, "create"));
    return call.answer(201, {{"Id", container.id}, {"Warnings", warnings}});
}

}  // namespace drupe::endpoints
