// /networks: names that containers may be given; none carries packets yet.

#include "api/endpoints/networks.h"

#include "api/endpoints/network_body.h"
#include "api/engine/clock.h"
#include "api/engine/time_text.h"

namespace drupe::endpoints {
namespace {

using daemon::Network;
using daemon::Networks;

Json to_json(const Network& n) {
    Json pools = Json::array();
    if (!n.subnet.empty()) {
        Json pool{{"Subnet", n.subnet}};
        if (!n.gateway.empty()) pool["Gateway"] = n.gateway;
        pools.push_back(pool);
    }
    return {{"Name", n.name},
            {"Id", n.id},
            {"Created", engine::time_text(n.created_at_ns)},
            {"Scope", "local"},
            {"Driver", n.driver},
            {"EnableIPv4", true},
            {"EnableIPv6", n.ipv6},
            {"IPAM", {{"Driver", "default"}, {"Options", Json::object()}, {"Config", pools}}},
            {"Internal", n.internal},
            {"Attachable", n.attachable},
            {"Ingress", false},
            {"ConfigFrom", {{"Network", ""}}},
            {"ConfigOnly", false},
            {"Containers", Json::object()},
            {"Options", n.options},
            {"Labels", n.labels}};
}

bool matches(const Network& n, const Filters& f, std::optional<bool> dangling) {
    if (dangling && *dangling == n.built_in()) return false;
    return f.labels_match(n.labels) &&
           f.any("name",
                 [&](const auto& name) { return n.name.find(name) != std::string::npos; }) &&
           f.any("id", [&](const auto& id) { return n.id.starts_with(id); }) &&
           f.any("driver", [&](const auto& driver) { return n.driver == driver; }) &&
           f.any("scope", [](const auto& scope) { return scope == "local"; }) &&
           f.any("type",
                 [&](const auto& type) { return type == (n.built_in() ? "builtin" : "custom"); });
}

void publish(const Call& call, const Network& n, const char* action) {
    call.daemon.events.publish(
        {"network", action, n.id, {{"name", n.name}, {"type", n.driver}}, 0});
}

/// Names of the networks that containers were made with.
Result<bool> is_used(engine::Engine& engine, const Network& n) {
    TRY_ASSIGN(const auto containers, engine.list());
    for (const auto& c : containers) {
        if (c.config.network_mode == n.name || c.config.network_mode == n.id) return true;
    }
    return false;
}

}  // namespace

Status list_networks(const Call& call) {
    TRY_ASSIGN(const Filters filters, call.filters({"dangling", "driver", "id", "label", "label!",
                                                    "name", "scope", "type"}));
    TRY_ASSIGN(const auto dangling, filters.boolean("dangling"));
    TRY_ASSIGN(auto engine, call.daemon.engines.borrow());
    TRY_ASSIGN(Networks networks, Networks::open(engine.images().database()));
    TRY_ASSIGN(const auto all, networks.list());
    Json list = Json::array();
    for (const Network& n : all) {
        if (matches(n, filters, dangling)) list.push_back(to_json(n));
    }
    return call.answer(200, list);
}

Status inspect_network(const Call& call) {
    TRY_ASSIGN(auto engine, call.daemon.engines.borrow());
    TRY_ASSIGN(Networks networks, Networks::open(engine.images().database()));
    TRY_ASSIGN(const Network n, networks.find(call.id()));
    return call.answer(200, to_json(n));
}

Status create_network(const Call& call) {
    TRY_ASSIGN(const auto body, call.body());
    TRY_ASSIGN(Network n, parse_network_body(body));
    TRY_ASSIGN(auto engine, call.daemon.engines.borrow());
    TRY_ASSIGN(Networks networks, Networks::open(engine.images().database()));
    TRY(networks.create(n));
    publish(call, n, "create");
    return call.answer(201, {{"Id", n.id}, {"Warning", "networks carry no packets yet"}});
}

Status delete_network(const Call& call) {
    TRY_ASSIGN(auto engine, call.daemon.engines.borrow());
    TRY_ASSIGN(Networks networks, Networks::open(engine.images().database()));
    TRY_ASSIGN(const Network n, networks.find(call.id()));
    TRY(networks.remove(n));
    publish(call, n, "destroy");
    return call.answer(204);
}

Status prune_networks(const Call& call) {
    TRY_ASSIGN(const Filters filters, call.filters({"label", "label!", "until"}));
    TRY_ASSIGN(auto engine, call.daemon.engines.borrow());
    TRY_ASSIGN(Networks networks, Networks::open(engine.images().database()));
    TRY_ASSIGN(const auto all, networks.list());
    uint64_t until_ns = UINT64_MAX;
    for (const std::string& text : filters.get("until")) {
        const auto moment = engine::parse_moment(text, engine::realtime_ns());
        if (!moment)
            return Error{ErrorCode::kInvalid, "invalid filter 'until=" + text.substr(0, 64) + "'"};
        until_ns = *moment;
    }
    Json deleted;
    for (const Network& n : all) {
        if (n.built_in() || n.created_at_ns > until_ns || !filters.labels_match(n.labels)) continue;
        TRY_ASSIGN(const bool used, is_used(engine.engine(), n));
        if (used) continue;
        TRY(networks.remove(n));
        publish(call, n, "destroy");
        deleted.push_back(n.name);
    }
    return call.answer(200, {{"NetworksDeleted", deleted}});
}

Status connect_network(const Call& call) {
    TRY_ASSIGN(auto engine, call.daemon.engines.borrow());
    TRY_ASSIGN(Networks networks, Networks::open(engine.images().database()));
    TRY_ASSIGN(const Network n, networks.find(call.id()));
    return Error{ErrorCode::kUnsupported,
                 "network " + n.name + ": networks that carry packets aren't there yet"};
}

}  // namespace drupe::endpoints
