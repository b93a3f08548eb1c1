#pragma once

#include "base/result.h"
#include "vmm/memory/guest_memory.h"
#include "vmm/snapshot/memory_pages.h"
#include "vmm/snapshot/page_runs.h"
#include "vmm/snapshot/working_set.h"
#include "vmm/vm.h"

namespace drupe {

/// Writes RAM into a new, empty file, which becomes as long as RAM is and has holes where it is
/// zero. The guest is paused and its devices are quiet. elsewhere: RAM whose content may be in a
/// file or on swap, rising; of the rest only what was touched is read. With `dirty`, only these
/// pages (and few others between them).
[[nodiscard]] Result<MemoryPages> write_memory(const GuestMemory& memory, int fd,
                                               const std::vector<PageRun>& elsewhere = {},
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

}  // namespace drupe
