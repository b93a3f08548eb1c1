#pragma once

#include <string>
#include <vector>

#include "api/engine/images.h"
#include "base/result.h"

namespace drupe::cli {

struct HistoryOptions {
    bool quiet = false;
    bool no_trunc = false;
    std::string format;
};
/// A line for each step, as `docker history` prints it.
[[nodiscard]] Result<std::string> history_text(const std::vector<engine::HistoryEntry>& entries,
                                               const HistoryOptions& options, uint64_t now_ns);

}  // namespace drupe::cli
