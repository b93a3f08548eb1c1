#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "api/engine/container.h"
#include "base/result.h"

namespace drupe::cli {

struct ListOptions {
    bool quiet = false;  ///< Ids only.
    bool no_trunc = false;
    bool json = false;   ///< One JSON array.
    std::string format;  ///< As of --format; empty: the table.
};
/// A container as lists show it, whoever knows of it.
struct ListedContainer {
    std::string id;
    std::string name;
    std::string image;
    std::string command;
    uint64_t created_at_ns = 0;
    std::string state;
    std::string status;
    std::map<std::string, std::string> labels;
};
[[nodiscard]] Result<std::string> list_text(const std::vector<ListedContainer>& containers,
                                            const ListOptions& options, uint64_t now_ns);

}  // namespace drupe::cli
