#include "vmm/memory/guest_memory.h"

#include <sys/mman.h>

#include <algorithm>

#include "base/check.h"

namespace drupe {
namespace {

constexpr uint64_t kPage = 4096;
constexpr uint64_t kHugePage = 2ULL << 20;
constexpr int kFresh = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;

/// An anonymous mapping at a multiple of 2 MiB, so that guest and host huge pages line up.
Result<std::byte*> map_aligned(uint64_t size) {
    void* reserved = ::mmap(nullptr, size + kHugePage, PROT_NONE, kFresh, -1, 0);
    if (reserved == MAP_FAILED)
        return os_error("map " + std::to_string(size) + " bytes of guest RAM");
    auto* const start = static_cast<std::byte*>(reserved);
    const uint64_t skip = (kHugePage - reinterpret_cast<uintptr_t>(start) % kHugePage) % kHugePage;
    std::byte* const aligned = start + skip;
    if (skip != 0) ::munmap(start, skip);
    if (skip != kHugePage) ::munmap(aligned + size, kHugePage - skip);
    if (::mprotect(aligned, size, PROT_READ | PROT_WRITE) < 0) {
        const Error error = os_error("make guest RAM accessible");
        ::munmap(aligned, size);
        return error;
    }
    return aligned;
}

/// A host without huge pages works, only slower.
void advise_fresh(const MemoryRegion& region) {
    (void)::madvise(region.host, region.size, MADV_HUGEPAGE);
    (void)::madvise(region.host, region.size, MADV_DONTDUMP);
    // The first 2 MiB hold boot structures in a few pages: a huge page would be nearly all waste.
    if (region.guest_address == 0)
        (void)::madvise(region.host, std::min(region.size, kHugePage), MADV_NOHUGEPAGE);
}

}  // namespace

std::byte* GuestSlice::at(size_t offset, size_t size) const {
    DRUPE_CHECK(offset <= size_ && size <= size_ - offset);
    return host_ + offset;
}

Status GuestSlice::discard() const {
    const size_t skip = (kPage - reinterpret_cast<uintptr_t>(host_) % kPage) % kPage;
    if (skip >= size_) return ok();
    const size_t whole = (size_ - skip) / kPage * kPage;
    if (::madvise(host_ + skip, whole, MADV_DONTNEED) < 0)
        return os_error("give " + std::to_string(whole) + " bytes of guest RAM back");
    return ok();
}

Result<GuestMemory> GuestMemory::create(std::span<const Range> ranges) {
    GuestMemory memory;
    uint64_t end = 0;
    for (const Range& range : ranges) {
        const bool aligned = range.guest_address % kPage == 0 && range.size % kPage == 0;
        if (!aligned || range.size == 0 || range.guest_address < end ||
            range.size > UINT64_MAX - range.guest_address) {
            return Error{ErrorCode::kInvalid,
                         "guest RAM ranges must be page-aligned, rising and apart"};
        }
        end = range.guest_address + range.size;
        TRY_ASSIGN(std::byte * host, map_aligned(range.size));
        memory.regions_.push_back({range.guest_address, range.size, host});
        advise_fresh(memory.regions_.back());
    }
    if (memory.regions_.empty()) return Error{ErrorCode::kInvalid, "a guest needs RAM"};
    return memory;
}

GuestMemory::GuestMemory(GuestMemory&& other) noexcept : regions_(std::move(other.regions_)) {
    other.regions_.clear();
}

GuestMemory& GuestMemory::operator=(GuestMemory&& other) noexcept {
    if (this != &other) {
        unmap();
        regions_ = std::move(other.regions_);
        other.regions_.clear();
    }
    return *this;
}

GuestMemory::~GuestMemory() {
    unmap();
}

void GuestMemory::unmap() {
    for (const MemoryRegion& region : regions_) ::munmap(region.host, region.size);
}

std::optional<GuestSlice> GuestMemory::slice(uint64_t address, uint64_t size) const {
    for (const MemoryRegion& region : regions_) {
        if (address < region.guest_address) break;
        const uint64_t offset = address - region.guest_address;
        if (offset >= region.size) continue;
        if (size > region.size - offset) return std::nullopt;
        return GuestSlice(region.host + offset, size);
    }
    return std::nullopt;
}

GuestSlice GuestMemory::page(uint64_t number) const {
    uint64_t offset = number * kPage;
    for (const MemoryRegion& region : regions_) {
        if (offset < region.size) return {region.host + offset, kPage};
        offset -= region.size;
    }
    DRUPE_CHECK(number < total_size() / kPage);
    return {};
}

Status GuestMemory::map_private(uint64_t address, uint64_t size, int fd, uint64_t offset) const {
    const std::optional<GuestSlice> range = slice(address, size);
    if (!range || size == 0 || (address | size | offset) % kPage != 0)
        return Error{ErrorCode::kInvalid, "map a file into guest RAM: not whole pages of it"};
    if (::mmap(range->as_iovec().iov_base, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED,
               fd, static_cast<off_t>(offset)) == MAP_FAILED) {
        return os_error("map a file into guest RAM");
    }
    (void)::madvise(range->as_iovec().iov_base, size, MADV_DONTDUMP);
    return ok();
}

void GuestMemory::advise(uint64_t address, uint64_t size, int advice) const {
    const std::optional<GuestSlice> range = slice(address, size);
    if (range) (void)::madvise(range->as_iovec().iov_base, size, advice);
}

void GuestMemory::use_small_pages(uint64_t address, uint64_t size) const {
    advise(address, size, MADV_NOHUGEPAGE);
}

void GuestMemory::will_read(uint64_t address, uint64_t size) const {
    advise(address, size, MADV_WILLNEED);
}

void GuestMemory::will_write(uint64_t address, uint64_t size) const {
    advise(address, size, MADV_POPULATE_WRITE);  // Linux 5.14
}

Status GuestMemory::take_away() const {
    for (const MemoryRegion& region : regions_) {
        if (::mmap(region.host, region.size, PROT_NONE, kFresh | MAP_FIXED, -1, 0) == MAP_FAILED)
            return os_error("take guest RAM away");
    }
    return ok();
}

Status GuestMemory::give_back() const {
    for (const MemoryRegion& region : regions_) {
        if (::mmap(region.host, region.size, PROT_READ | PROT_WRITE, kFresh | MAP_FIXED, -1, 0) ==
            MAP_FAILED)
            return os_error("give guest RAM back");
        advise_fresh(region);
    }
    return ok();
}

uint64_t GuestMemory::total_size() const {
    uint64_t total = 0;
    for (const MemoryRegion& region : regions_) total += region.size;
    return total;
}

}  // namespace drupe
