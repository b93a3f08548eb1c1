#pragma once

#include "api/endpoints/call.h"

namespace drupe::endpoints {

/// "changes": Dockerfile instructions. The parameter comes once for each, or with all in lines.
[[nodiscard]] inline std::vector<std::string> changes_of(const Call& call) {
    std::vector<std::string> changes;
    for (const std::string& text : call.list("changes")) {
        for (size_t at = 0; at < text.size();) {
            const size_t end = std::min(text.find('\n', at), text.size());
            if (end > at) changes.push_back(text.substr(at, end - at));
            at = end + 1;
        }
    }
    return changes;
}

}  // namespace drupe::endpoints
