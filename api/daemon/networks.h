#pragma once

#include <map>
#include <string>
#include <vector>

#include "imagefs/store/database.h"

namespace drupe::daemon {

/// A network, as far as there is one: a name, and what was said of it. None carries packets yet.
struct Network {
    std::string id;  ///< 64 hex digits.
    std::string name;
    std::string driver = "bridge";
    std::string subnet;  ///< "172.18.0.0/16"; empty: none.
    std::string gateway;
    bool internal = false;
    bool attachable = false;
    bool ipv6 = false;
    std::map<std::string, std::string> labels;
    std::map<std::string, std::string> options;
    uint64_t created_at_ns = 0;

    [[nodiscard]] bool built_in() const {
        return name == "bridge" || name == "host" || name == "none";
    }
};

/// The networks in drupe.db, and the built-in ones. One thread, as its database.
class Networks {
  public:
    static constexpr size_t kMax = 1024;

    [[nodiscard]] static Result<Networks> open(imagefs::Database& db);

    /// The built-in ones first.
    [[nodiscard]] Result<std::vector<Network>> list();
    /// By name, id or a prefix of exactly one id. kNotFound: "network NAME not found".
    [[nodiscard]] Result<Network> find(const std::string& query);
    /// Gives it an id, and a subnet if it has none. kInvalid: its subnet or gateway is none;
    /// kConflict: the name is taken.
    [[nodiscard]] Status create(Network& network);
    /// kDenied: it is built in.
    [[nodiscard]] Status remove(const Network& network);

  private:
    explicit Networks(imagefs::Database& db) : db_(db) {}
    imagefs::Database& db_;
};

}  // namespace drupe::daemon
