#include "api/engine/working_set.h"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <array>

#include "vmm/memory/guest_memory.h"
#include "vmm/snapshot/memory_file.h"

namespace drupe::engine {
namespace {

constexpr uint64_t kPage = 4096;
constexpr uint64_t kHigh = 1ULL << 32;
constexpr uint64_t kLowPages = 1024;
constexpr uint64_t kHighPages = 512;

GuestMemory make_memory() {
    const std::array<GuestMemory::Range, 2> ranges{
        {{0, kLowPages * kPage}, {kHigh, kHighPages * kPage}}};
    return std::move(GuestMemory::create(ranges)).value();
}

/// A file with all of its pages, each of another value.
struct Saved {
    Fd file{::memfd_create("memory", MFD_CLOEXEC)};
    MemoryPages pages;

    Saved() {
        const GuestMemory memory = make_memory();
        for (uint64_t i = 0; i < kLowPages; ++i) EXPECT_TRUE(memory.write(i * kPage, i + 1));
        for (uint64_t i = 0; i < kHighPages; ++i)
            EXPECT_TRUE(memory.write(kHigh + i * kPage, kLowPages + i + 1));
        pages = write_memory(memory, file.get()).value();
    }
};

bool has(const std::vector<PageRun>& runs, uint64_t page) {
    for (const PageRun& run : runs)
        if (page >= run.first && page - run.first < run.count) return true;
    return false;
}

TEST(WorkingSetOfTest, TellsWhatWasReadFromWhatWasWritten) {
    const Saved saved;
    const GuestMemory memory = make_memory();
    ASSERT_TRUE(map_memory(memory, saved.file.get(), saved.pages));
    ASSERT_TRUE(memory.write(5 * kPage, uint64_t{0}));
    ASSERT_TRUE(memory.write(6 * kPage, uint64_t{0}));
    ASSERT_TRUE(memory.write(kHigh + 7 * kPage, uint64_t{0}));
    EXPECT_EQ(memory.read<uint64_t>(300 * kPage), 301U);

    const auto set = working_set_of(::getpid(), saved.file.get());
    ASSERT_TRUE(set) << set.error().message;
    EXPECT_EQ(set.value().total, kLowPages + kHighPages);
    EXPECT_EQ(set.value().written, (std::vector<PageRun>{{5, 2}, {kLowPages + 7, 1}}));
    EXPECT_TRUE(has(set.value().read, 300));
    EXPECT_FALSE(has(set.value().read, 700)) << "the kernel maps few pages around one that is read";
    EXPECT_EQ(decode_working_set(encode(set.value())).value(), set.value());
}

TEST(WorkingSetOfTest, TheNextMachineHasItsPagesBeforeItTouchesThem) {
    const Saved saved;
    WorkingSet set{kLowPages + kHighPages, {{300, 2}}, {{5, 2}, {kLowPages + 7, 1}}};
    const GuestMemory memory = make_memory();
    ASSERT_TRUE(map_memory(memory, saved.file.get(), saved.pages));
    prefetch(memory, set);
    EXPECT_EQ(working_set_of(::getpid(), saved.file.get()).value().written, set.written);
    EXPECT_EQ(memory.read<uint64_t>(5 * kPage), 6U);
    EXPECT_EQ(memory.read<uint64_t>(kHigh + 7 * kPage), kLowPages + 8);

    const GuestMemory other = make_memory();
    ASSERT_TRUE(map_memory(other, saved.file.get(), saved.pages));
    set.total -= 1;
    prefetch(other, set);  // of another machine: left alone
}

TEST(WorkingSetOfTest, PrefetchIsBounded) {
    const std::array<GuestMemory::Range, 1> ranges{{{0, 2 * kMaxPrefetchBytes}}};
    const GuestMemory memory = std::move(GuestMemory::create(ranges)).value();
    const Fd file(::memfd_create("memory", MFD_CLOEXEC));
    constexpr uint64_t kPages = 2 * kMaxPrefetchBytes / kPage;
    ASSERT_EQ(::ftruncate(file.get(), kPages * kPage), 0);
    ASSERT_TRUE(map_memory(memory, file.get(), {kPages, {{0, kPages}}}));
    prefetch(memory, {kPages, {}, {{10, kPages - 10}}});
    EXPECT_EQ(working_set_of(::getpid(), file.get()).value().written,
              (std::vector<PageRun>{{10, kMaxPrefetchBytes / kPage}}));
}

TEST(WorkingSetOfTest, AProcessWithoutThatMemoryIsNotFound) {
    const Fd file(::memfd_create("memory", MFD_CLOEXEC));
    EXPECT_EQ(working_set_of(::getpid(), file.get()).error().code, ErrorCode::kNotFound);
    EXPECT_EQ(working_set_of(0x7fffffff, file.get()).error().code, ErrorCode::kNotFound);
}

}  // namespace
}  // namespace drupe::engine
