#include "vmm/memory/own_pages.h"

#include <unistd.h>

#include <algorithm>
#include <array>

namespace drupe {
namespace {

constexpr uint64_t kPage = 4096;

bool is_own(uint64_t entry) {
    return (entry & (kPagemapPresent | kPagemapSwapped)) != 0 && (entry & kPagemapOfFile) == 0;
}

}  // namespace

Result<std::optional<std::vector<uint64_t>>> own_pages(const GuestMemory& memory, int pagemap_fd,
                                                       size_t most) {
    std::array<uint64_t, 1024> entries;
    std::vector<uint64_t> found;
    uint64_t base = 0;
    for (const MemoryRegion& region : memory.regions()) {
        const uint64_t first = reinterpret_cast<uintptr_t>(region.host) / kPage;
        const uint64_t pages = region.size / kPage;
        for (uint64_t done = 0; done < pages;) {
            const size_t wanted = std::min<uint64_t>(entries.size(), pages - done);
            const ssize_t got = ::pread(pagemap_fd, entries.data(), wanted * sizeof(uint64_t),
                                        static_cast<off_t>((first + done) * sizeof(uint64_t)));
            if (got < 0) return os_error("read pagemap");
            const size_t count = static_cast<size_t>(got) / sizeof(uint64_t);
            if (count == 0) return Error{ErrorCode::kIo, "read pagemap: it ends before RAM does"};
            for (size_t i = 0; i < count; ++i) {
                if (!is_own(entries[i])) continue;
                if (found.size() == most) return std::optional<std::vector<uint64_t>>();
                found.push_back(base + done + i);
            }
            done += count;
        }
        base += pages;
    }
    return std::optional(std::move(found));
}

}  // namespace drupe
