#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "vmm/memory/guest_memory.h"
#include "vmm/vm.h"

namespace drupe {

/// Pages are counted through all of RAM, without the gap: page N is at N * 4 KiB of a memory file.
struct PageRun {
    uint64_t first = 0;
    uint64_t count = 0;
    bool operator==(const PageRun&) const = default;
};

/// Which pages a memory file has the content of; the rest are those of the file that it builds on,
/// or zero if there is none.
struct MemoryPages {
    uint64_t total = 0;         ///< Of the machine, and of the file.
    std::vector<PageRun> runs;  ///< Rising and apart. A hole of the file in one is zeroes.
};

/// Writes RAM into a new, empty file, which becomes as long as RAM is and has holes where it is
/// zero. With `dirty`, only these pages (and few others between them). The guest is paused and its
/// devices are quiet. Reading a page that the guest never touched takes no memory: it is the
/// kernel's page of zeroes.
[[nodiscard]] Result<MemoryPages> write_memory(const GuestMemory& memory, int fd,
                                               const PageBitmaps* dirty = nullptr);

/// The way back: the file's pages become a fresh machine's RAM, mapped privately, but for
/// the short ones of very many runs: they are read. Before the guest runs; of several files the
/// lowest first. kCorrupt if it isn't a regular file of this machine's size. Nobody may truncate it
/// as long as the machine lives (GuestMemory::map_private()).
[[nodiscard]] Status map_memory(const GuestMemory& memory, int fd, const MemoryPages& pages);

/// The state file's section of it.
inline constexpr std::string_view kMemorySection = "memory";
inline constexpr uint32_t kMemorySectionVersion = 1;
[[nodiscard]] std::string encode_memory_pages(const MemoryPages& pages);
/// From anybody's bytes: runs are inside of total, rising and apart.
[[nodiscard]] Result<MemoryPages> decode_memory_pages(std::string_view bytes);

}  // namespace drupe
