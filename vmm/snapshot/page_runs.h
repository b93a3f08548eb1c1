#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "base/codec.h"

namespace drupe {

/// Pages are counted through all of RAM, without the gap: page N is at N * 4 KiB of a memory file.
struct PageRun {
    uint64_t first = 0;
    uint64_t count = 0;
    bool operator==(const PageRun&) const = default;
};

/// A u32 count, then first page and number of pages (u64 each).
void put_runs(Encoder& out, const std::vector<PageRun>& runs);
/// From anybody's bytes. nullopt unless they are at most `most`, inside of total, rising, and with
/// at least a page between two.
[[nodiscard]] std::optional<std::vector<PageRun>> get_runs(Decoder& in, uint64_t total,
                                                           uint32_t most);

}  // namespace drupe
