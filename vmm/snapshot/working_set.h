#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "vmm/snapshot/page_runs.h"

namespace drupe {

/// Which pages of a memory file a machine needed soon after it had gone on from there: what the
/// next one will need. A guess: it may be of any size and wrong in every page
/// (docs/formats/snapshot.md).
struct WorkingSet {
    uint64_t total = 0;            ///< Pages of the memory file.
    std::vector<PageRun> read;     ///< Read alone. Rising and apart, as the next.
    std::vector<PageRun> written;  ///< Copied, for the guest has written to them.
    bool operator==(const WorkingSet&) const = default;
};

inline constexpr size_t kMaxWorkingSetRuns = 64 << 10;  ///< Of both together.
inline constexpr size_t kMaxWorkingSetBytes = 32 + 16 * kMaxWorkingSetRuns;

[[nodiscard]] std::string encode(const WorkingSet& set);
/// From anybody's bytes.
[[nodiscard]] Result<WorkingSet> decode_working_set(std::string_view bytes);

}  // namespace drupe
