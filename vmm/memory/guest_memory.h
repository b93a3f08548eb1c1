#pragma once

#include <sys/uio.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <type_traits>
#include <vector>

#include "base/crc32c.h"
#include "base/result.h"

namespace drupe {

/// A range of guest RAM. The guest may change its bytes at any moment, so no pointer, reference or
/// span to them leaves this class: callers copy bytes out once and use the copy. as_iovec() is for
/// system calls only. Borrowed from a GuestMemory, which must outlive it.
class GuestSlice {
  public:
    GuestSlice() = default;

    [[nodiscard]] size_t size() const { return size_; }
    [[nodiscard]] bool empty() const { return size_ == 0; }

    /// The sub-range [offset, offset + size); nullopt if it isn't inside this slice.
    [[nodiscard]] std::optional<GuestSlice> sub(size_t offset, size_t size) const {
        if (offset > size_ || size > size_ - offset) return std::nullopt;
        return GuestSlice(host_ + offset, size);
    }

    /// Copies min(size(), out.size()) bytes out of the guest; returns how many.
    size_t copy_to(std::span<std::byte> out) const {
        const size_t n = size_ < out.size() ? size_ : out.size();
        if (n != 0) std::memcpy(out.data(), host_, n);
        return n;
    }
    /// Copies min(size(), data.size()) bytes into the guest; returns how many.
    size_t copy_from(std::span<const std::byte> data) const {
        const size_t n = size_ < data.size() ? size_ : data.size();
        if (n != 0) std::memcpy(host_, data.data(), n);
        return n;
    }
    /// Whether all bytes are zero; true if there are none.
    [[nodiscard]] bool is_zero() const {
        return size_ == 0 ||
               (host_[0] == std::byte{0} && std::memcmp(host_, host_ + 1, size_ - 1) == 0);
    }
    /// Of the bytes, going on from a previous result. While nobody writes them: else of no moment.
    [[nodiscard]] uint32_t crc32c(uint32_t previous = 0) const {
        return drupe::crc32c({host_, size_}, previous);
    }
    void fill_zero() const {
        if (size_ != 0) std::memset(host_, 0, size_);
    }
    /// Gives the whole pages inside back to the host (MADV_DONTNEED). They read again as what was
    /// mapped there: zeroes, or the file of map_private().
    [[nodiscard]] Status discard() const;

    /// For preadv, pwritev and their like, which never look at the bytes twice.
    [[nodiscard]] iovec as_iovec() const { return iovec{host_, size_}; }

    /// A fixed-width value at a byte offset, which must be inside the slice (checked by the caller:
    /// DRUPE_CHECK).
    template <class T>
    [[nodiscard]] T load(size_t offset) const {
        static_assert(std::is_trivially_copyable_v<T>);
        T value;
        std::memcpy(&value, at(offset, sizeof value), sizeof value);
        return value;
    }
    template <class T>
    void store(size_t offset, T value) const {
        static_assert(std::is_trivially_copyable_v<T>);
        std::memcpy(at(offset, sizeof value), &value, sizeof value);
    }

    /// Ring indices, shared with the guest's CPUs (virtio 1.2, 2.7.13.3 and 2.7.14): offset must be
    /// aligned.
    [[nodiscard]] uint16_t load_acquire(size_t offset) const {
        return atomic(offset).load(std::memory_order_acquire);
    }
    void store_release(size_t offset, uint16_t value) const {
        atomic(offset).store(value, std::memory_order_release);
    }

  private:
    friend class GuestMemory;
    GuestSlice(std::byte* host, size_t size) : host_(host), size_(size) {}

    [[nodiscard]] std::byte* at(size_t offset, size_t size) const;
    [[nodiscard]] std::atomic_ref<uint16_t> atomic(size_t offset) const {
        // GuestMemory maps RAM page-aligned and queues validate their alignment, so this is a
        // uint16_t's place.
        return std::atomic_ref<uint16_t>(
            *static_cast<uint16_t*>(static_cast<void*>(at(offset, sizeof(uint16_t)))));
    }

    std::byte* host_ = nullptr;
    size_t size_ = 0;
};

/// One contiguous range of guest RAM and where the host has it.
struct MemoryRegion {
    uint64_t guest_address = 0;  ///< Page-aligned.
    uint64_t size = 0;           ///< A multiple of the page size.
    std::byte* host =
        nullptr;  ///< Mapped readable and writable for as long as the GuestMemory lives.
};

/// All of a guest's RAM: regions in rising order that don't touch. Immutable once built, so any
/// thread may use it.
class GuestMemory {
  public:
    /// Maps fresh zero pages for the given (address, size) ranges; RAM is aligned to 2 MiB and
    /// advised MADV_HUGEPAGE. The mapping is private and never merged (no KSM), and ends with the
    /// object.
    struct Range {
        uint64_t guest_address;
        uint64_t size;
    };
    [[nodiscard]] static Result<GuestMemory> create(std::span<const Range> ranges);

    GuestMemory(GuestMemory&& other) noexcept;
    GuestMemory& operator=(GuestMemory&& other) noexcept;
    GuestMemory(const GuestMemory&) = delete;
    GuestMemory& operator=(const GuestMemory&) = delete;
    ~GuestMemory();

    /// The range [address, address + size) if all of it lies in one region; overflow-safe.
    /// A size of 0 is a valid, empty slice if the address is inside RAM.
    [[nodiscard]] std::optional<GuestSlice> slice(uint64_t address, uint64_t size) const;

    /// A page by its number, counted from 0 through all of RAM, without gaps. DRUPE_CHECK: it is
    /// there.
    [[nodiscard]] GuestSlice page(uint64_t number) const;

    template <class T>
    [[nodiscard]] std::optional<T> read(uint64_t address) const {
        const auto range = slice(address, sizeof(T));
        if (!range) return std::nullopt;
        return range->load<T>(0);
    }
    template <class T>
    [[nodiscard]] bool write(uint64_t address, const T& value) const {
        const auto range = slice(address, sizeof(T));
        if (range) range->store<T>(0, value);
        return range.has_value();
    }

    /// Replaces whole pages of RAM by a private copy of a file's (MAP_PRIVATE): writes never reach
    /// the file. Only while no guest runs and nobody uses slices of the range. The file must not be
    /// truncated as long as the memory lives: touching such a page is SIGBUS. kInvalid for what
    /// isn't page-aligned or in RAM.
    [[nodiscard]] Status map_private(uint64_t address, uint64_t size, int fd,
                                     uint64_t offset) const;

    /// A page of this range that is touched brings in no more than itself. Advice.
    void use_small_pages(uint64_t address, uint64_t size) const;
    /// What a private mapping has there is read from the disk in the background. Advice.
    void will_read(uint64_t address, uint64_t size) const;
    /// Pages that nobody has written to yet are made this memory's own now. Advice.
    void will_write(uint64_t address, uint64_t size) const;

    /// RAM is gone, with its content and what the host kept for it; its addresses aren't used for
    /// anything else. A guest's access has KVM_RUN fail (EFAULT), one by a system call has that
    /// fail, and one of this process's is SIGSEGV.
    [[nodiscard]] Status take_away() const;
    /// RAM is there, as create() makes it.
    [[nodiscard]] Status give_back() const;

    [[nodiscard]] std::span<const MemoryRegion> regions() const { return regions_; }
    [[nodiscard]] uint64_t total_size() const;

  private:
    GuestMemory() = default;
    void unmap();
    void advise(uint64_t address, uint64_t size, int advice) const;
    std::vector<MemoryRegion> regions_;
};

}  // namespace drupe
