#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "vmm/snapshot/page_runs.h"

namespace drupe {

/// Which pages a memory file has the content of; the rest are those of the file that it builds on,
/// or zero if there is none.
struct MemoryPages {
    uint64_t total = 0;            ///< Of the machine, and of the file.
    std::vector<PageRun> runs;     ///< Rising and apart. A hole of the file in one is zeroes.
    std::vector<uint32_t> sums{};  ///< CRC32C of each piece of the runs (for_summed_pieces()).
};

/// What one checksum is of, at most: 1 MiB.
inline constexpr uint64_t kMaxSummedPages = 256;

/// Calls each(piece), a Status, for the pieces of the runs that have a checksum each, in its order.
template <class Each>
[[nodiscard]] Status for_summed_pieces(const std::vector<PageRun>& runs, const Each& each) {
    for (const PageRun& run : runs) {
        for (uint64_t done = 0; done < run.count; done += kMaxSummedPages) {
            TRY(each(PageRun{run.first + done, std::min(kMaxSummedPages, run.count - done)}));
        }
    }
    return ok();
}

/// Reads all runs of a memory file and compares their checksums. kCorrupt, with the place, if one
/// differs or the file ends before. Moves no file position.
[[nodiscard]] Status verify_memory(int fd, const MemoryPages& pages);

/// The state file's section of it.
inline constexpr std::string_view kMemorySection = "memory";
inline constexpr uint32_t kMemorySectionVersion = 2;
[[nodiscard]] std::string encode_memory_pages(const MemoryPages& pages);
/// From anybody's bytes: runs are inside of total, rising and apart; each piece has its checksum.
[[nodiscard]] Result<MemoryPages> decode_memory_pages(std::string_view bytes);

}  // namespace drupe
