#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "base/result.h"
#include "vmm/memory/guest_memory.h"

namespace drupe {

/// Bits of an entry of /proc/PID/pagemap (Documentation/admin-guide/mm/pagemap.rst).
inline constexpr uint64_t kPagemapPresent = 1ULL << 63;
inline constexpr uint64_t kPagemapSwapped = 1ULL << 62;
inline constexpr uint64_t kPagemapOfFile = 1ULL << 61;

/// Which pages of RAM this machine has for itself: of private mappings those that were written to,
/// of the rest those that were touched. All of them, while nobody touches RAM; by their numbers
/// (GuestMemory::page()), rising. nullopt if they are more than `most`. pagemap_fd: this process's
/// own /proc/self/pagemap, open for reading.
[[nodiscard]] Result<std::optional<std::vector<uint64_t>>> own_pages(const GuestMemory& memory,
                                                                     int pagemap_fd, size_t most);

}  // namespace drupe
