#include "vmm/memory/guest_memory.h"

#include <fcntl.h>
#include <gtest/gtest.h>

#include <array>
#include <cstring>
#include <string>

#include "base/fd.h"

namespace drupe {
namespace {

constexpr uint64_t kMiB = 1 << 20;
constexpr uint64_t kHigh = 1ULL << 32;

GuestMemory make_memory() {
    const std::array<GuestMemory::Range, 2> ranges{{{0, 4 * kMiB}, {kHigh, 2 * kMiB}}};
    return std::move(GuestMemory::create(ranges)).value();
}

TEST(GuestMemoryTest, ReadsBackWhatWasWrittenBelowAndAboveTheGap) {
    const GuestMemory memory = make_memory();
    for (const uint64_t address : {uint64_t{16}, 4 * kMiB - 8, kHigh, kHigh + 2 * kMiB - 8}) {
        EXPECT_TRUE(memory.write<uint64_t>(address, address ^ 0x5a5a));
        EXPECT_EQ(memory.read<uint64_t>(address), address ^ 0x5a5a);
    }
    EXPECT_EQ(memory.total_size(), 6 * kMiB);
}

TEST(GuestMemoryTest, NothingOutsideRamHasASlice) {
    const GuestMemory memory = make_memory();
    EXPECT_FALSE(memory.slice(4 * kMiB, 1));          // first byte of the gap
    EXPECT_FALSE(memory.slice(4 * kMiB - 1, 2));      // across the end of a region
    EXPECT_FALSE(memory.slice(kHigh - 1, 1));         // last byte of the gap
    EXPECT_FALSE(memory.slice(kHigh + 2 * kMiB, 0));  // past the end, even when empty
    EXPECT_FALSE(memory.slice(16, UINT64_MAX));       // address + size overflows
    EXPECT_FALSE(memory.slice(UINT64_MAX, 1));
    EXPECT_FALSE(memory.slice(0, kHigh + 2 * kMiB));  // spans two regions
    EXPECT_TRUE(memory.slice(4 * kMiB - 1, 1));
}

TEST(GuestMemoryTest, ASubSliceStaysInsideItsSlice) {
    const GuestMemory memory = make_memory();
    const auto slice = memory.slice(4096, 16);
    ASSERT_TRUE(slice);
    EXPECT_TRUE(slice->sub(16, 0));
    EXPECT_FALSE(slice->sub(17, 0));
    EXPECT_FALSE(slice->sub(8, 9));
    EXPECT_FALSE(slice->sub(SIZE_MAX, 2));
}

TEST(GuestMemoryTest, OnlyWholePagesAreDiscarded) {
    const GuestMemory memory = make_memory();
    const auto pages = memory.slice(0x10000, 4 * 4096);
    const std::string bytes(pages->size(), 'x');
    for (const auto& [offset, size, first, end] : {std::array<size_t, 4>{0, 4 * 4096, 0, 4},
                                                   {1, 2 * 4096, 1, 2},
                                                   {4095, 4097, 1, 2},
                                                   {4096, 8191, 1, 2},
                                                   {1, 4095, 1, 1},
                                                   {4096, 0, 1, 1},
                                                   {100, 10, 0, 0}}) {
        SCOPED_TRACE(std::to_string(offset) + "+" + std::to_string(size));
        pages->copy_from(std::as_bytes(std::span(bytes)));
        EXPECT_TRUE(pages->sub(offset, size)->discard());
        for (size_t page = 0; page < 4; ++page) {
            const auto slice = *pages->sub(page * 4096, 4096);
            const bool kept = std::memcmp(slice.as_iovec().iov_base, bytes.data(), 4096) == 0;
            EXPECT_EQ(slice.is_zero(), page >= first && page < end) << page;
            EXPECT_NE(kept, slice.is_zero()) << page;
        }
    }
}

TEST(GuestMemoryTest, DiscardedPagesOfAFileReadAsTheFile) {
    const GuestMemory memory = make_memory();
    const Fd file = std::move(open_file("/tmp", O_TMPFILE | O_RDWR, 0600)).value();
    const std::string page(4096, 'f');
    ASSERT_TRUE(write_exact(file.get(), std::as_bytes(std::span(page)), 0));
    ASSERT_TRUE(memory.map_private(kMiB, 4096, file.get(), 0));
    EXPECT_TRUE(memory.write(kMiB, 'w'));
    EXPECT_TRUE(memory.slice(kMiB, 4096)->discard());
    EXPECT_EQ(memory.read<char>(kMiB), 'f');
}

TEST(GuestMemoryTest, OverlappingOrUnalignedRangesAreRefused) {
    const std::array<GuestMemory::Range, 2> overlap{{{0, 8192}, {4096, 8192}}};
    EXPECT_FALSE(GuestMemory::create(overlap));
    const std::array<GuestMemory::Range, 1> unaligned{{{0, 100}}};
    EXPECT_FALSE(GuestMemory::create(unaligned));
    EXPECT_FALSE(GuestMemory::create({}));
}

}  // namespace
}  // namespace drupe
