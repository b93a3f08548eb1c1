#include "vmm/snapshot/memory_file.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>

#include "base/fd.h"
#include "vmm/memory/touched_pages.h"
#include "vmm/testing/memfd.h"

namespace drupe {
namespace {

using ::testing::HasSubstr;

constexpr uint64_t kPage = 4096;
constexpr uint64_t kLowPages = 512;
constexpr uint64_t kHigh = 1ULL << 32;
constexpr uint64_t kHighPages = 256;

/// 2 MiB, a gap, 1 MiB.
GuestMemory make_memory() {
    const std::array<GuestMemory::Range, 2> ranges{
        {{0, kLowPages * kPage}, {kHigh, kHighPages * kPage}}};
    return std::move(GuestMemory::create(ranges)).value();
}

uint64_t address_of(uint64_t page) {
    return page < kLowPages ? page * kPage : kHigh + (page - kLowPages) * kPage;
}

void mark(const GuestMemory& memory, uint64_t page, uint64_t value) {
    ASSERT_TRUE(memory.write(address_of(page) + 8 * (page % 512), value));
}
uint64_t marked(const GuestMemory& memory, uint64_t page) {
    return memory.read<uint64_t>(address_of(page) + 8 * (page % 512)).value();
}

Fd empty_file() {
    return testing::make_memfd({});
}

uint64_t pages_on_disk(const Fd& file) {
    struct stat st {};
    EXPECT_EQ(::fstat(file.get(), &st), 0);
    return static_cast<uint64_t>(st.st_blocks) * 512 / kPage;
}

TEST(MemoryFileTest, AllOfRamComesBackAndZeroesTakeNoRoom) {
    const GuestMemory memory = make_memory();
    const std::vector<uint64_t> pages{0, 1, 40, 300, 511, 512, 600, 767};
    for (const uint64_t page : pages) mark(memory, page, page + 1);
    const Fd file = empty_file();
    const auto written = write_memory(memory, file.get());
    ASSERT_TRUE(written);
    EXPECT_EQ(written.value().runs,
              (std::vector<PageRun>{{0, 2}, {40, 1}, {300, 1}, {511, 2}, {600, 1}, {767, 1}}));
    EXPECT_EQ(pages_on_disk(file), pages.size());

    const GuestMemory other = make_memory();
    ASSERT_TRUE(map_memory(other, file.get(), written.value()));
    for (uint64_t page = 0; page < kLowPages + kHighPages; ++page)
        ASSERT_EQ(marked(other, page), marked(memory, page)) << page;
    mark(other, 40, 5);
    const GuestMemory third = make_memory();
    ASSERT_TRUE(map_memory(third, file.get(), written.value()));
    EXPECT_EQ(marked(third, 40), 41U) << "a write of one machine reached the file";
}

TEST(MemoryFileTest, ARestoredMachinesRamComesBackWithWhatItHasAdded) {
    const GuestMemory memory = make_memory();
    for (const uint64_t page : {3U, 40U, 41U, 600U}) mark(memory, page, page + 1);
    const Fd file = empty_file();
    const MemoryPages pages = write_memory(memory, file.get()).value();
    const GuestMemory second = make_memory();
    ASSERT_TRUE(map_memory(second, file.get(), pages));
    mark(second, 5, 1000);               // in a gap
    mark(second, 41, 2000);              // over the file's
    mark(second, 40, 0);                 // zero now
    EXPECT_EQ(marked(second, 700), 0U);  // read alone
    const Fd again = empty_file();
    const auto written = write_memory(second, again.get(), pages.runs);
    ASSERT_TRUE(written);
    EXPECT_EQ(written.value().runs, (std::vector<PageRun>{{3, 3}, {41, 1}, {600, 1}}));
    const GuestMemory third = make_memory();
    ASSERT_TRUE(map_memory(third, again.get(), written.value()));
    for (uint64_t page = 0; page < kLowPages + kHighPages; ++page)
        ASSERT_EQ(marked(third, page), marked(second, page)) << page;
}

TEST(MemoryFileTest, WhatNobodyTouchedIsNotRead) {
    const GuestMemory memory = make_memory();
    memory.use_small_pages(0, kLowPages * kPage);
    mark(memory, 3, 1);
    const GuestSlice low = memory.slice(0, kLowPages * kPage).value();
    const auto before = touched_pages(low);
    EXPECT_EQ(before[4], 0);
    ASSERT_TRUE(write_memory(memory, empty_file().get()));
    EXPECT_EQ(touched_pages(low), before);
}

TEST(MemoryFileTest, AFewZeroPagesBetweenOthersAreWrittenWithThem) {
    const GuestMemory memory = make_memory();
    for (const uint64_t page : {10U, 14U, 19U}) mark(memory, page, 1);
    const Fd file = empty_file();
    ASSERT_TRUE(write_memory(memory, file.get()));
    EXPECT_EQ(pages_on_disk(file), 6U) << "10 to 14, and 19";
}

TEST(MemoryFileTest, DirtyPagesGoOverTheFileBelowEvenIfTheyAreZeroNow) {
    const GuestMemory memory = make_memory();
    for (uint64_t page = 0; page < kLowPages + kHighPages; ++page) mark(memory, page, page + 1);
    const Fd below = empty_file();
    const MemoryPages all = write_memory(memory, below.get()).value();

    PageBitmaps dirty{std::vector<uint64_t>(kLowPages / 64),
                      std::vector<uint64_t>(kHighPages / 64)};
    const auto change = [&](uint64_t page, uint64_t value) {
        mark(memory, page, value);
        const uint64_t in_region = page < kLowPages ? page : page - kLowPages;
        dirty[page < kLowPages ? 0 : 1][in_region / 64] |= 1ULL << (in_region % 64);
    };
    change(5, 1000);
    change(63, 0);
    for (uint64_t page = 500; page < 540; ++page) change(page, 2000 + page);
    change(767, 3000);
    const Fd file = empty_file();
    const MemoryPages pages = write_memory(memory, file.get(), {}, &dirty).value();
    EXPECT_EQ(pages.runs, (std::vector<PageRun>{{5, 1}, {63, 1}, {500, 40}, {767, 1}}));
    EXPECT_EQ(pages_on_disk(file), 42U) << "all but the zero page";

    const GuestMemory other = make_memory();
    ASSERT_TRUE(map_memory(other, below.get(), all));
    ASSERT_TRUE(map_memory(other, file.get(), pages));
    for (uint64_t page = 0; page < kLowPages + kHighPages; ++page)
        ASSERT_EQ(marked(other, page), marked(memory, page)) << page;
}

TEST(MemoryFileTest, AFileOfAnotherSizeOrKindIsRefused) {
    const GuestMemory memory = make_memory();
    const Fd file = empty_file();
    const MemoryPages pages = write_memory(memory, file.get()).value();
    EXPECT_FALSE(write_memory(memory, file.get())) << "it isn't empty any more";
    for (const off_t size : {off_t{0}, off_t{4096}, off_t{3 << 20} - 1, (off_t{3 << 20}) + 1}) {
        ASSERT_EQ(::ftruncate(file.get(), size), 0);
        const Status mapped = map_memory(memory, file.get(), pages);
        ASSERT_FALSE(mapped);
        EXPECT_EQ(mapped.error().code, ErrorCode::kCorrupt);
        EXPECT_THAT(mapped.error().message, HasSubstr("the machine has 3145728"));
    }
    const Fd device = std::move(open_file("/dev/zero", O_RDWR)).value();
    EXPECT_THAT(map_memory(memory, device.get(), pages).error().message,
                HasSubstr("not a regular file"));
    EXPECT_THAT(map_memory(memory, file.get(), {700, {}}).error().message,
                HasSubstr("of a machine with 700 pages, this one has 768"));
}

TEST(MemoryFileTest, AllThatIsReadBackHasAChecksumWhateverTheGapOfRam) {
    const GuestMemory memory = make_memory();
    for (uint64_t page = 100; page < kLowPages + kHighPages; ++page) mark(memory, page, page);
    const Fd file = empty_file();
    const MemoryPages pages = write_memory(memory, file.get()).value();
    EXPECT_EQ(pages.runs, (std::vector<PageRun>{{100, 668}}));
    EXPECT_EQ(pages.sums.size(), 3U) << "256, 256 and 156 pages; the second has both regions";
    EXPECT_TRUE(verify_memory(file.get(), pages));
}

TEST(MemoryFileTest, PagesThatAreZeroNowHaveTheChecksumOfTheirHole) {
    const GuestMemory memory = make_memory();
    mark(memory, 1, 1);
    mark(memory, 12, 1);
    const Fd file = empty_file();
    const MemoryPages few = write_memory(memory, file.get()).value();
    EXPECT_EQ(few.runs, (std::vector<PageRun>{{1, 12}}));
    EXPECT_EQ(pages_on_disk(file), 2U);
    EXPECT_TRUE(verify_memory(file.get(), few));

    const PageBitmaps dirty{{0b1100}, {}};
    const Fd zeroes = empty_file();
    const MemoryPages pages = write_memory(memory, zeroes.get(), {}, &dirty).value();
    EXPECT_EQ(pages_on_disk(zeroes), 0U);
    EXPECT_TRUE(verify_memory(zeroes.get(), pages));
}

}  // namespace
}  // namespace drupe
