#include "api/daemon/networks.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "api/engine/clock.h"
#include "api/engine/names.h"
#include "base/json_reader.h"
#include "imagefs/store/sha256.h"

namespace drupe::daemon {
namespace {

constexpr std::array kMigrations{R"sql(
    CREATE TABLE networks(id TEXT PRIMARY KEY, name TEXT NOT NULL UNIQUE, driver TEXT NOT NULL,
        subnet TEXT NOT NULL, gateway TEXT NOT NULL, flags INTEGER NOT NULL, labels TEXT NOT NULL,
        options TEXT NOT NULL, created_at_ns INTEGER NOT NULL) STRICT;
)sql"};

constexpr int64_t kInternal = 1;
constexpr int64_t kAttachable = 2;
constexpr int64_t kIpv6 = 4;

Network built_in(const char* name, const char* driver) {
    Network network;
    network.id = imagefs::sha256(std::string("drupe network ") + name).hex();
    network.name = name;
    network.driver = driver;
    return network;
}

std::vector<Network> built_in_networks() {
    Network bridge = built_in("bridge", "bridge");
    bridge.subnet = "172.17.0.0/16";
    bridge.gateway = "172.17.0.1";
    return {bridge, built_in("host", "host"), built_in("none", "null")};
}

std::string to_text(const std::map<std::string, std::string>& map) {
    return dump_json(nlohmann::json(map));
}

std::map<std::string, std::string> from_text(const std::string& text) {
    std::map<std::string, std::string> map;
    const auto json = parse_json(text);
    if (!json || !json.value().is_object()) return map;
    for (const auto& [name, value] : json.value().items()) {
        if (value.is_string()) map[name] = value.get<std::string>();
    }
    return map;
}

}  // namespace

Result<Networks> Networks::open(imagefs::Database& db) {
    TRY(db.migrate("networks", kMigrations));
    return Networks(db);
}

Result<std::vector<Network>> Networks::list() {
    std::vector<Network> networks = built_in_networks();
    TRY_ASSIGN(auto rows,
               db_.prepare("SELECT id, name, driver, subnet, gateway, flags, labels, "
                           "options, created_at_ns FROM networks ORDER BY created_at_ns"));
    for (;;) {
        TRY_ASSIGN(const bool there, rows.step());
        if (!there) return networks;
        Network& n = networks.emplace_back();
        n.id = rows.text(0);
        n.name = rows.text(1);
        n.driver = rows.text(2);
        n.subnet = rows.text(3);
        n.gateway = rows.text(4);
        n.internal = (rows.integer(5) & kInternal) != 0;
        n.attachable = (rows.integer(5) & kAttachable) != 0;
        n.ipv6 = (rows.integer(5) & kIpv6) != 0;
        n.labels = from_text(rows.text(6));
        n.options = from_text(rows.text(7));
        n.created_at_ns = static_cast<uint64_t>(rows.integer(8));
    }
}

Result<Network> Networks::find(const std::string& query) {
    TRY_ASSIGN(const auto networks, list());
    const Network* by_prefix = nullptr;
    bool several = false;
    for (const Network& network : networks) {
        if (network.name == query || network.id == query) return network;
        if (query.empty() || !network.id.starts_with(query)) continue;
        several = by_prefix != nullptr;
        by_prefix = &network;
    }
    if (several) {
        return Error{ErrorCode::kConflict,
                     fmt::format("several networks' ids start with {}: give more digits", query)};
    }
    if (by_prefix != nullptr) return *by_prefix;
    return Error{ErrorCode::kNotFound, fmt::format("network {} not found", query.substr(0, 128))};
}

Status Networks::create(Network& network) {
    TRY_ASSIGN(network.id, engine::random_id());
    network.created_at_ns = engine::realtime_ns();
    return db_.transaction([&]() -> Status {
        TRY_ASSIGN(const auto known, list());
        if (known.size() >= kMax) {
            return Error{ErrorCode::kLimit, fmt::format("there are {} networks already", kMax)};
        }
        for (const Network& other : known) {
            if (other.name == network.name) {
                return Error{ErrorCode::kConflict,
                             fmt::format("network with name {} already exists", network.name)};
            }
        }
        constexpr int kFirst = 18;
        for (int i = kFirst; network.subnet.empty() && i < 32 + 256; ++i) {
            // 172.18 to 172.31, then 10.0 and on.
            const std::string base =
                i < 32 ? fmt::format("172.{}", i) : fmt::format("10.{}", i - 32);
            const bool taken = std::any_of(known.begin(), known.end(), [&](const Network& other) {
                return other.subnet.starts_with(base + ".");
            });
            if (taken) continue;
            network.subnet = base + ".0.0/16";
            network.gateway = base + ".0.1";
        }
        TRY_ASSIGN(auto row, db_.prepare("INSERT INTO networks VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?)"));
        row.bind(0, network.id);
        row.bind(1, network.name);
        row.bind(2, network.driver);
        row.bind(3, network.subnet);
        row.bind(4, network.gateway);
        row.bind(5, (network.internal ? kInternal : 0) | (network.attachable ? kAttachable : 0) |
                        (network.ipv6 ? kIpv6 : 0));
        row.bind(6, to_text(network.labels));
        row.bind(7, to_text(network.options));
        row.bind(8, static_cast<int64_t>(network.created_at_ns));
        return row.run();
    });
}

Status Networks::remove(const Network& network) {
    if (network.built_in()) {
        return Error{
            ErrorCode::kDenied,
            fmt::format("{} is a pre-defined network and cannot be removed", network.name)};
    }
    TRY_ASSIGN(auto row, db_.prepare("DELETE FROM networks WHERE id = ?"));
    row.bind(0, network.id);
    return row.run();
}

}  // namespace drupe::daemon
