#include "vmm/memory/own_pages.h"

#include <unistd.h>

#include <algorithm>
#include <array>

namespace drupe {
namespace {

constexpr uint64_t kPage = 4096;

/// Adds to `found` up to `most` pages and one more.
Status add_own(uint64_t address, const iovec& host, int pagemap_fd, size_t most,
               std::vector<uint64_t>& found) {
    std::array<uint64_t, 1024> entries;
    const uint64_t first = reinterpret_cast<uintptr_t>(host.iov_base) / kPage;
    const uint64_t pages = host.iov_len / kPage;
    for (uint64_t done = 0; done < pages;) {
        const size_t wanted = std::min<uint64_t>(entries.size(), pages - done);
        const ssize_t got = ::pread(pagemap_fd, entries.data(), wanted * sizeof(uint64_t),
                                    static_cast<off_t>((first + done) * sizeof(uint64_t)));
        if (got < 0) return os_error("read pagemap");
        const size_t count = static_cast<size_t>(got) / sizeof(uint64_t);
        if (count == 0) return Error{ErrorCode::kIo, "read pagemap: it ends before RAM does"};
        for (size_t i = 0; i < count; ++i) {
            if ((entries[i] & (kPagemapPresent | kPagemapOfFile)) != kPagemapPresent) continue;
            found.push_back(address + (done + i) * kPage);
            if (found.size() > most) return ok();
        }
        done += count;
    }
    return ok();
}

}  // namespace

Result<std::optional<std::vector<uint64_t>>> own_pages(const GuestMemory& memory,
                                                       std::span<const GuestMemory::Range> ranges,
                                                       int pagemap_fd, size_t most) {
    std::vector<uint64_t> found;
    for (const GuestMemory::Range& range : ranges) {
        const auto slice = memory.slice(range.guest_address, range.size);
        if (!slice) return Error{ErrorCode::kInvalid, "a range that isn't in RAM"};
        TRY(add_own(range.guest_address, slice->as_iovec(), pagemap_fd, most, found));
        if (found.size() > most) return std::optional<std::vector<uint64_t>>();
    }
    return std::optional(std::move(found));
}

}  // namespace drupe
