#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "api/client/client.h"

namespace drupe::cli {

/// A line of what the daemon says while it pulls, pushes, loads or imports. Text is fit for a
/// terminal.
struct ProgressLine {
    std::string status;
    std::string id;  ///< Of a layer, or a tag.
    std::string stream;
    bool is_layer = false;  ///< The status is a layer's, with counts.
    uint64_t bytes = 0;
    uint64_t total_bytes = 0;  ///< 0: there is nothing to count.
};

/// Sends a request and hands out each line of its answer. A line that says "error" is an Error.
[[nodiscard]] Status watch_progress(client::Client& client, const client::Request& request,
                                    const std::function<Status(const ProgressLine&)>& sink);

}  // namespace drupe::cli
