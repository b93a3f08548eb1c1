#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "api/client/client.h"

namespace drupe::cli {

/// What POST /containers/ID/wait says in the end.
struct ContainerEnd {
    int exit_code = 0;
    std::string error;  ///< Why it didn't end by itself.
    /// Of one that was made with --timing: CLOCK_MONOTONIC ns, and KVM's counts at each mark.
    std::map<std::string, uint64_t> marks;
    std::map<std::string, uint64_t> counts;
};
/// Reads the answer to a wait that was begun.
[[nodiscard]] Result<ContainerEnd> read_end(client::Client& client);

}  // namespace drupe::cli
