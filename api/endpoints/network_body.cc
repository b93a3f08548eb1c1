#include "api/endpoints/network_body.h"

#include <fmt/format.h>

#include "base/json_reader.h"

namespace drupe::endpoints {
namespace {

using daemon::Network;
using nlohmann::json;

constexpr size_t kMaxMembers = 1024;

Status read_map(const json* object, const char* what, std::map<std::string, std::string>& out) {
    if (object == nullptr) return ok();
    for (const auto& [name, value] : object->items()) {
        if (!value.is_string() || out.size() >= kMaxMembers) {
            return Error{ErrorCode::kInvalid,
                         std::string(what) + ": an object of texts is expected"};
        }
        out[name] = value.get<std::string>();
    }
    return ok();
}

Error refused(const char* name) {
    return Error{ErrorCode::kUnsupported,
                 fmt::format("option {} is not supported: networks that carry packets aren't there "
                             "yet; a network is a name, with one subnet",
                             name)};
}

/// Whether a member is there and says more than null, false, nothing.
bool says_something(const json& object, const char* name) {
    const auto found = object.find(name);
    if (found == object.end() || found->is_null() || *found == false || *found == "") return false;
    return !found->is_structured() || !found->empty();
}

Status read_pool(const json* ipam, Network& out) {
    if (ipam == nullptr) return ok();
    if (says_something(*ipam, "Driver") && (*ipam)["Driver"] != "default") {
        return refused("IPAM.Driver (--ipam-driver)");
    }
    if (says_something(*ipam, "Options")) return refused("IPAM.Options (--ipam-opt)");
    if (!says_something(*ipam, "Config")) return ok();
    const json& pools = (*ipam)["Config"];
    if (!pools.is_array() || !pools.front().is_object()) {
        return Error{ErrorCode::kInvalid, "IPAM.Config: a list of objects is expected"};
    }
    if (pools.size() > 1) return refused("IPAM.Config (a second --subnet)");
    const json& pool = pools.front();
    if (says_something(pool, "IPRange")) return refused("IPAM.Config.IPRange (--ip-range)");
    for (const char* name : {"AuxiliaryAddresses", "AuxAddress"}) {
        if (says_something(pool, name)) {
            return refused("IPAM.Config.AuxiliaryAddresses (--aux-address)");
        }
    }
    JsonReader in(pool, "IPAM.Config");
    in.get("Subnet", out.subnet);
    in.get("Gateway", out.gateway);
    return in.status();
}

/// What would make it another kind of network.
Status refuse_kinds(const json& body) {
    if (says_something(body, "ConfigOnly")) return refused("ConfigOnly (--config-only)");
    if (says_something(body, "Ingress")) return refused("Ingress (--ingress)");
    if (says_something(body, "Scope") && body["Scope"] != "local") {
        return refused("Scope (--scope)");
    }
    const auto from = body.find("ConfigFrom");
    if (from != body.end() && from->is_object() && says_something(*from, "Network")) {
        return refused("ConfigFrom (--config-from)");
    }
    const auto ipv4 = body.find("EnableIPv4");
    if (ipv4 != body.end() && *ipv4 == false) return refused("EnableIPv4 (--ipv4=false)");
    return ok();
}

}  // namespace

Result<Network> parse_network_body(const json& body) {
    Network n;
    JsonReader in(body);
    in.get("Name", n.name);
    in.get("Driver", n.driver);
    in.get("Internal", n.internal);
    in.get("Attachable", n.attachable);
    in.get("EnableIPv6", n.ipv6);
    const auto* ipam = in.object("IPAM");
    const auto* options = in.object("Options");
    const auto* labels = in.object("Labels");
    TRY(in.status());
    TRY(refuse_kinds(body));
    TRY(read_pool(ipam, n));
    TRY(read_map(options, "Options", n.options));
    TRY(read_map(labels, "Labels", n.labels));
    if (n.driver.empty() || n.driver == "default") n.driver = "bridge";
    if (n.driver != "bridge") {
        return Error{ErrorCode::kNotFound, "could not find plugin " + n.driver.substr(0, 64) +
                                               " in v1 plugin registry: plugin not found"};
    }
    constexpr size_t kMaxNameBytes = 128;
    if (n.name.empty() || n.name.size() > kMaxNameBytes ||
        n.name.find_first_of("/ \t\n") != std::string::npos) {
        return Error{ErrorCode::kInvalid, "invalid network name: \"" + n.name.substr(0, 64) + "\""};
    }
    if (n.built_in()) {
        return Error{ErrorCode::kDenied,
                     "operation is not permitted on predefined " + n.name + " network"};
    }
    return n;
}

}  // namespace drupe::endpoints
