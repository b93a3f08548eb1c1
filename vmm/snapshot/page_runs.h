#pragma once

#include <cstdint>

namespace drupe {

/// Pages are counted through all of RAM, without the gap: page N is at N * 4 KiB of a memory file.
struct PageRun {
    uint64_t first = 0;
    uint64_t count = 0;
    bool operator==(const PageRun&) const = default;
};

}  // namespace drupe
