#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "vmm/memory/guest_memory.h"
#include "vmm/snapshot/page_runs.h"
#include "vmm/snapshot/working_set.h"
#include "vmm/vm.h"

namespace drupe {

/// Which pages a memory file has the content of; the rest are those of the file that it builds on,
/// or zero if there is none.
struct MemoryPages {
    uint64_t total = 0;         ///< Of the machine, and of the file.
    std::vector<PageRun> runs;  ///< Rising and apart. A hole of the file in one is zeroes.
};

/// Writes RAM into a new, empty file, which becomes as long as RAM is and has holes where it is
/// zero. The guest is paused and its devices are quiet. of_file: what map_memory() has mapped of a
/// file, rising; of the rest only what was touched is read. With `dirty`, only these pages (and few
/// others between them).
[[nodiscard]] Result<MemoryPages> write_memory(const GuestMemory& memory, int fd,
                                               const std::vector<PageRun>& of_file = {},
                                               const PageBitmaps* dirty = nullptr);

/// The way back: the file's pages become a fresh machine's RAM, mapped privately, but for
/// the short ones of very many runs: they are read. Before the guest runs; of several files the
/// lowest first. kCorrupt if it isn't a regular file of this machine's size. Nobody may truncate it
/// as long as the machine lives (GuestMemory::map_private()).
[[nodiscard]] Status map_memory(const GuestMemory& memory, int fd, const MemoryPages& pages);

/// Has the pages there before the guest asks for them, one by one: those to be written are copied
/// now, the others are read from the disk in the background. After map_memory(), before the guest
/// runs. Copies no more than kMaxPrefetchBytes. Advice: what can't be done is left to page faults.
inline constexpr uint64_t kMaxPrefetchBytes = 64 << 20;
void prefetch(const GuestMemory& memory, const WorkingSet& set);

/// The state file's section of it.
inline constexpr std::string_view kMemorySection = "memory";
inline constexpr uint32_t kMemorySectionVersion = 1;
[[nodiscard]] std::string encode_memory_pages(const MemoryPages& pages);
/// From anybody's bytes: runs are inside of total, rising and apart.
[[nodiscard]] Result<MemoryPages> decode_memory_pages(std::string_view bytes);

}  // namespace drupe
