#include "vmm/arch/x86_64/layout.h"

#include <algorithm>

namespace drupe::arch {

std::vector<GuestMemory::Range> ram_ranges(uint64_t memory_bytes) {
    const uint64_t low = std::min(memory_bytes, kGapStart);
    std::vector<GuestMemory::Range> ranges{{0, low}};
    if (memory_bytes > low) ranges.push_back({kGapEnd, memory_bytes - low});
    return ranges;
}

std::vector<E820Entry> e820_map(const GuestMemory& memory) {
    std::vector<E820Entry> map{
        {0, kMpTable, E820Type::kRam},
        {kMpTable, kMpTableEnd - kMpTable, E820Type::kReserved},
    };
    for (const MemoryRegion& region : memory.regions()) {
        const uint64_t start = std::max(region.guest_address, kHighMemory);
        const uint64_t end = region.guest_address + region.size;
        if (start < end) map.push_back({start, end - start, E820Type::kRam});
    }
    return map;
}

}  // namespace drupe::arch
