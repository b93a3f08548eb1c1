#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"

namespace drupe::cli {

/// A step of how an image was made.
struct ListedStep {
    std::string id;         ///< Of the image, for the last step of all; else "<missing>".
    int64_t created_s = 0;  ///< 0: not known.
    std::string created_by;
    std::string comment;
    uint64_t size_bytes = 0;
};

struct HistoryOptions {
    bool quiet = false;
    bool no_trunc = false;
    std::string format;
};
/// A line for each step, as `docker history` prints it.
[[nodiscard]] Result<std::string> history_text(const std::vector<ListedStep>& steps,
                                               const HistoryOptions& options, uint64_t now_ns);

}  // namespace drupe::cli
