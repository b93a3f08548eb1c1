#include "vmm/snapshot/memory_file.h"

#include <fmt/core.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <optional>
#include <utility>

#include "vmm/memory/touched_pages.h"

namespace drupe {
namespace {

constexpr uint64_t kPage = 4096;
/// So many pages that needn't be written are, if that saves a system call and an extent.
constexpr uint64_t kBridge = 3;
/// Zeroes between two runs of a whole machine's: more of them are fresh RAM to the one that is
/// restored, in huge pages where there are enough. A page of a file's hole would be copied once it
/// is written.
constexpr uint64_t kBridgeOfWhole = 16;
constexpr uint64_t kMaxWriteBytes = 16 << 20;
/// A mapping costs the kernel more than reading so few pages, but what is read is each machine's
/// own; so a file of many runs has its short ones read, and its gaps are left as they are. The
/// kernel gives a process 65530 mappings.
constexpr size_t kManyRuns = 256;
constexpr uint64_t kMinMappedOfMany = 16;
constexpr uint64_t kMaxMappings = 16384;
/// A guest that is nearly idle takes pages from gaps between those that it had; one that grows soon
/// needs larger free areas. There huge pages are worth what they bring in.
constexpr uint64_t kMinHugeGapPages = 16 * 512;

/// Adds a run, or makes the last one longer if the gap is small.
void add_run(std::vector<PageRun>& runs, uint64_t first, uint64_t count,
             uint64_t bridge = kBridge) {
    if (!runs.empty()) {
        PageRun& last = runs.back();
        if (first - (last.first + last.count) <= bridge) {
            last.count = first + count - last.first;
            return;
        }
    }
    runs.push_back({first, count});
}

bool test(const std::vector<uint64_t>& bitmap, uint64_t page) {
    return page / 64 < bitmap.size() && (bitmap[page / 64] >> (page % 64) & 1) != 0;
}

std::vector<PageRun> dirty_runs(const GuestMemory& memory, const PageBitmaps& dirty) {
    std::vector<PageRun> runs;
    uint64_t base = 0;
    size_t index = 0;
    for (const MemoryRegion& region : memory.regions()) {
        const uint64_t pages = region.size / kPage;
        const std::vector<uint64_t>* const bitmap = index < dirty.size() ? &dirty[index] : nullptr;
        for (uint64_t page = 0; bitmap != nullptr && page < pages; ++page) {
            if (page % 64 == 0 && page / 64 < bitmap->size() && (*bitmap)[page / 64] == 0)
                page += 63;  // and one more by the loop
            else if (test(*bitmap, page))
                add_run(runs, base + page, 1);
        }
        base += pages;
        ++index;
    }
    return runs;
}

/// Calls each(slice, first page) for the pieces of a run, none across two regions.
template <class Each>
Status for_pieces(const GuestMemory& memory, PageRun run, const Each& each) {
    uint64_t base = 0;
    for (const MemoryRegion& region : memory.regions()) {
        const uint64_t pages = region.size / kPage;
        const uint64_t first = std::max(run.first, base);
        const uint64_t end = std::min(run.first + run.count, base + pages);
        if (first < end) {
            TRY(each(region.guest_address + (first - base) * kPage, (end - first) * kPage, first));
        }
        base += pages;
    }
    return ok();
}

/// All of it, in calls of bounded length.
template <class Transfer>
Status transfer_all(GuestSlice slice, uint64_t offset, const char* what, const Transfer& transfer) {
    while (!slice.empty()) {
        const iovec part = slice.sub(0, std::min(slice.size(), kMaxWriteBytes))->as_iovec();
        const ssize_t done = transfer(part, static_cast<off_t>(offset));
        if (done < 0 && errno == EINTR) continue;
        if (done < 0) return os_error(fmt::format("memory file: {} at {:#x}", what, offset));
        if (done == 0)
            return Error{ErrorCode::kCorrupt, fmt::format("memory file: it ends at {:#x}", offset)};
        offset += static_cast<uint64_t>(done);
        slice = *slice.sub(static_cast<size_t>(done), slice.size() - static_cast<size_t>(done));
    }
    return ok();
}

Status write_slice(int fd, const GuestSlice& slice, uint64_t offset) {
    return transfer_all(slice, offset, "write",
                        [fd](const iovec& part, off_t at) { return ::pwritev(fd, &part, 1, at); });
}

Status read_slice(int fd, const GuestSlice& slice, uint64_t offset) {
    return transfer_all(slice, offset, "read",
                        [fd](const iovec& part, off_t at) { return ::preadv(fd, &part, 1, at); });
}

/// Writes what isn't zero of a piece, and adds it to `written`. Only pages that are touched are
/// looked at; of an empty list, all.
Status write_piece(const GuestSlice& piece, uint64_t first_page, int fd,
                   const std::vector<unsigned char>& touched, std::vector<PageRun>& written) {
    std::optional<PageRun> pending;  // of the piece's own pages
    const auto flush = [&]() -> Status {
        if (!pending) return ok();
        const PageRun run = *std::exchange(pending, std::nullopt);
        add_run(written, first_page + run.first, run.count, kBridgeOfWhole);
        return write_slice(fd, *piece.sub(run.first * kPage, run.count * kPage),
                           (first_page + run.first) * kPage);
    };
    for (uint64_t page = 0; page < piece.size() / kPage; ++page) {
        if (!touched.empty() && touched[page] == 0) continue;
        if (piece.sub(page * kPage, kPage)->is_zero()) continue;
        if (pending && page - (pending->first + pending->count) > kBridge) {
            TRY(flush());
        }
        if (!pending) pending = PageRun{page, 0};
        pending->count = page + 1 - pending->first;
    }
    return flush();
}

/// All of RAM but what is zero. Of what is nowhere else, the kernel knows what was touched.
Result<std::vector<PageRun>> write_all_of(const GuestMemory& memory, int fd,
                                          const std::vector<PageRun>& elsewhere) {
    std::vector<PageRun> written;
    const auto write = [&](PageRun run, bool ask) {
        return for_pieces(memory, run, [&](uint64_t address, uint64_t size, uint64_t first) {
            const GuestSlice piece = memory.slice(address, size).value();
            return write_piece(piece, first, fd,
                               ask ? touched_pages(piece) : std::vector<unsigned char>(), written);
        });
    };
    uint64_t end = 0;
    for (const PageRun& run : elsewhere) {
        TRY(write({end, run.first - end}, true));
        TRY(write(run, false));
        end = run.first + run.count;
    }
    TRY(write({end, memory.total_size() / kPage - end}, true));
    return written;
}

Result<std::vector<PageRun>> write_dirty(const GuestMemory& memory, int fd,
                                         const PageBitmaps& dirty) {
    std::vector<PageRun> written;  // a dirty page may be zero now, and must cover the one below
    std::vector<PageRun> runs = dirty_runs(memory, dirty);
    for (const PageRun& run : runs) {
        TRY(for_pieces(memory, run, [&](uint64_t address, uint64_t size, uint64_t first) {
            return write_piece(memory.slice(address, size).value(), first, fd, {}, written);
        }));
    }
    return runs;
}

Result<std::vector<uint32_t>> sums_of(const GuestMemory& memory, const std::vector<PageRun>& runs) {
    std::vector<uint32_t> sums;
    TRY(for_summed_pieces(runs, [&](PageRun piece) {
        uint32_t& sum = sums.emplace_back(0);
        return for_pieces(memory, piece, [&](uint64_t address, uint64_t size, uint64_t) -> Status {
            sum = memory.slice(address, size).value().crc32c(sum);
            return ok();
        });
    }));
    return sums;
}

/// Between the runs, where that is too small a place for huge pages.
Status use_small_pages_in_gaps(const GuestMemory& memory, const MemoryPages& pages) {
    uint64_t end = 0;
    for (const PageRun& run : pages.runs) {
        const PageRun gap{end, run.first - end};
        end = run.first + run.count;
        if (gap.count == 0 || gap.count >= kMinHugeGapPages) continue;
        TRY(for_pieces(memory, gap, [&](uint64_t address, uint64_t size, uint64_t) -> Status {
            memory.use_small_pages(address, size);
            return ok();
        }));
    }
    return ok();
}

Status check_file(int fd, uint64_t bytes) {
    struct stat st {};
    if (::fstat(fd, &st) < 0) return os_error("memory file: fstat");
    if (S_ISREG(st.st_mode) && static_cast<uint64_t>(st.st_size) == bytes) return ok();
    return Error{ErrorCode::kCorrupt,
                 fmt::format("memory file: {} bytes{}, the machine has {}", st.st_size,
                             S_ISREG(st.st_mode) ? "" : ", not a regular file", bytes)};
}

}  // namespace

Result<MemoryPages> write_memory(const GuestMemory& memory, int fd,
                                 const std::vector<PageRun>& elsewhere, const PageBitmaps* dirty) {
    MemoryPages pages;
    pages.total = memory.total_size() / kPage;
    TRY(check_file(fd, 0));
    if (::ftruncate(fd, static_cast<off_t>(memory.total_size())) < 0)
        return os_error("memory file: make it as long as RAM");
    TRY_ASSIGN(pages.runs, dirty != nullptr ? write_dirty(memory, fd, *dirty)
                                            : write_all_of(memory, fd, elsewhere));
    TRY_ASSIGN(pages.sums, sums_of(memory, pages.runs));
    return pages;
}

Status map_memory(const GuestMemory& memory, int fd, const MemoryPages& pages) {
    const uint64_t total = memory.total_size() / kPage;
    if (pages.total != total) {
        return Error{ErrorCode::kInvalid,
                     fmt::format("memory file: it is of a machine with {} pages, this one has {}",
                                 pages.total, total)};
    }
    TRY(check_file(fd, total * kPage));
    const bool many = pages.runs.size() >= kManyRuns;
    if (!many) {
        TRY(use_small_pages_in_gaps(memory, pages));
    }
    const uint64_t min_mapped = many ? std::max(kMinMappedOfMany, total / kMaxMappings) : 1;
    for (const PageRun& run : pages.runs) {
        TRY(for_pieces(memory, run, [&](uint64_t address, uint64_t size, uint64_t first) -> Status {
            if (size / kPage >= min_mapped)
                return memory.map_private(address, size, fd, first * kPage);
            return read_slice(fd, memory.slice(address, size).value(), first * kPage);
        }));
    }
    return ok();
}

void prefetch(const GuestMemory& memory, const WorkingSet& set) {
    if (set.total != memory.total_size() / kPage) return;
    const auto each = [&memory](const std::vector<PageRun>& runs, const auto& prepare) {
        uint64_t left = kMaxPrefetchBytes / kPage;
        for (const PageRun& run : runs) {
            const uint64_t count = std::min(run.count, left);
            left -= count;
            if (count == 0) return;
            (void)for_pieces(memory, {run.first, count},
                             [&](uint64_t address, uint64_t size, uint64_t) -> Status {
                                 prepare(address, size);
                                 return ok();
                             });
        }
    };
    // The disk is asked for all of them first: copying waits for each page in turn.
    each(set.written, [&](uint64_t address, uint64_t size) { memory.will_read(address, size); });
    each(set.read, [&](uint64_t address, uint64_t size) { memory.will_read(address, size); });
    each(set.written, [&](uint64_t address, uint64_t size) { memory.will_write(address, size); });
}

}  // namespace drupe
