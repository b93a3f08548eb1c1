#include "api/daemon/networks.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <optional>

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

/// An IPv4 or IPv6 address, in the order of the wire; 4 or 16 bytes.
std::optional<std::string> parse_address(const std::string& text) {
    // inet_pton() would stop at a NUL and take what is before it.
    if (text.find('\0') != std::string::npos) return std::nullopt;
    std::string bytes(sizeof(in6_addr), '\0');
    if (::inet_pton(AF_INET6, text.c_str(), bytes.data()) == 1) return bytes;
    bytes.resize(sizeof(in_addr));
    if (::inet_pton(AF_INET, text.c_str(), bytes.data()) == 1) return bytes;
    return std::nullopt;
}

struct Subnet {
    std::string address;  ///< Its first; 4 or 16 bytes.
    unsigned bits = 0;

    /// Bit i of an address of the same length, from the most significant on.
    static bool bit(const std::string& bytes, size_t i) {
        return ((static_cast<unsigned char>(bytes[i / 8]) >> (7 - i % 8)) & 1) != 0;
    }
    [[nodiscard]] bool has_host_bits() const {
        for (size_t i = bits; i < address.size() * 8; ++i) {
            if (bit(address, i)) return true;
        }
        return false;
    }
    [[nodiscard]] bool contains(const std::string& other) const {
        if (other.size() != address.size()) return false;
        for (size_t i = 0; i < bits; ++i) {
            if (bit(address, i) != bit(other, i)) return false;
        }
        return true;
    }
};

std::optional<Subnet> parse_subnet(const std::string& text) {
    const size_t slash = text.find('/');
    if (slash == std::string::npos) return std::nullopt;
    const auto address = parse_address(text.substr(0, slash));
    if (!address) return std::nullopt;
    Subnet subnet{*address, 0};
    const char* end = text.data() + text.size();
    const auto [stop, error] = std::from_chars(text.data() + slash + 1, end, subnet.bits);
    if (error != std::errc() || stop != end || subnet.bits > address->size() * 8) {
        return std::nullopt;
    }
    return subnet;
}

/// Its subnet and gateway are what a client said.
Status check_pool(const Network& network) {
    constexpr size_t kShown = 64;
    const auto bad = [](const char* what, const std::string& text, const char* why) {
        return Error{ErrorCode::kInvalid, fmt::format("invalid network config:\ninvalid {} {}: {}",
                                                      what, text.substr(0, kShown), why)};
    };
    if (network.subnet.empty()) {
        if (network.gateway.empty()) return ok();
        return bad("gateway", network.gateway, "it needs a subnet");
    }
    const auto subnet = parse_subnet(network.subnet);
    if (!subnet) return bad("subnet", network.subnet, "invalid CIDR block notation");
    if (subnet->has_host_bits()) {
        return bad("subnet", network.subnet, "it has bits after those of the network");
    }
    if (network.gateway.empty()) return ok();
    const auto gateway = parse_address(network.gateway);
    if (!gateway) return bad("gateway", network.gateway, "invalid address");
    if (!subnet->contains(*gateway)) {
        return bad("gateway", network.gateway, "it isn't in the subnet");
    }
    return ok();
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
    TRY(check_pool(network));
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
