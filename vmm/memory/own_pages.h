#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "base/result.h"
#include "vmm/memory/guest_memory.h"

namespace drupe {

/// Bits of an entry of /proc/PID/pagemap (Documentation/admin-guide/mm/pagemap.rst).
inline constexpr uint64_t kPagemapPresent = 1ULL << 63;
inline constexpr uint64_t kPagemapOfFile = 1ULL << 61;

/// Which pages of these ranges of RAM this machine has for itself, as guest-physical addresses,
/// rising: of private mappings those that were written to. nullopt if they are more than `most`.
/// pagemap_fd: this process's own /proc/self/pagemap, open for reading.
[[nodiscard]] Result<std::optional<std::vector<uint64_t>>> own_pages(
    const GuestMemory& memory, std::span<const GuestMemory::Range> ranges, int pagemap_fd,
    size_t most);

}  // namespace drupe
