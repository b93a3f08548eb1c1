#include "vmm/snapshot/folded_memory.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <random>

#include "vmm/memory/own_pages.h"
#include "vmm/snapshot/memory_file.h"
#include "vmm/testing/memfd.h"

namespace drupe {
namespace {

constexpr uint64_t kPage = 4096;
constexpr uint64_t kPages = 768;
constexpr uint64_t kHigh = 1ULL << 32;

/// A machine that goes on from a memory file: pages 10 to 99 and 600 to 649 of it have random
/// content; the others are fresh.
class FoldedMemoryTest : public ::testing::Test {
  protected:
    FoldedMemoryTest() {
        const GuestMemory saved = make_memory();
        for (uint64_t page = 10; page < 100; ++page) fill(saved, page);
        for (uint64_t page = 600; page < 650; ++page) fill(saved, page);
        file_ = testing::make_memfd({});
        pages_ = write_memory(saved, file_.get()).value();
        EXPECT_TRUE(map_memory(memory_, file_.get(), pages_));
    }
    static GuestMemory make_memory() {
        const std::array<GuestMemory::Range, 2> ranges{{{0, 512 * kPage}, {kHigh, 256 * kPage}}};
        return std::move(GuestMemory::create(ranges)).value();
    }
    void fill(const GuestMemory& memory, uint64_t page) {
        for (uint64_t word = 0; word < 512; ++word) memory.page(page).store(word * 8, random());
    }
    uint64_t random() { return uint64_t{random_()} << 32 | random_(); }

    [[nodiscard]] FoldedMemory folded() const {
        return {memory_, std::move(file_.duplicate()).value(), pages_.runs};
    }
    [[nodiscard]] std::vector<uint64_t> own() const {
        return own_pages(memory_, pagemap_.get(), kPages).value().value();
    }
    [[nodiscard]] std::vector<std::byte> content(uint64_t first = 0, uint64_t end = kPages) const {
        std::vector<std::byte> bytes((end - first) * kPage);
        for (uint64_t page = first; page < end; ++page)
            memory_.page(page).copy_to(std::span(bytes).subspan((page - first) * kPage, kPage));
        return bytes;
    }
    /// Folds all, takes RAM away and brings it back.
    void there_and_back(FoldedMemory& folded) const {
        ASSERT_TRUE(folded.fold(own()));
        ASSERT_TRUE(memory_.take_away());
        ASSERT_TRUE(memory_.give_back());
        ASSERT_TRUE(folded.unfold());
    }

    std::mt19937 random_{1};  // NOLINT: the same each time
    GuestMemory memory_ = make_memory();
    Fd file_;
    MemoryPages pages_;
    Fd pagemap_ = std::move(open_file("/proc/self/pagemap", O_RDONLY)).value();
};

TEST_F(FoldedMemoryTest, APageThatDiffersALittleTakesALittle) {
    memory_.page(20).store(0, uint64_t{1});
    memory_.page(20).store(4088, uint64_t{2});
    memory_.page(610).store(800, uint64_t{3});
    memory_.page(300).store(64, uint64_t{4});  // fresh: zeroes lie beneath
    const uint64_t as_before = memory_.page(30).load<uint64_t>(0);
    memory_.page(30).store(0, ~as_before);
    memory_.page(30).store(0, as_before);
    const auto before = content();
    FoldedMemory folded = this->folded();
    ASSERT_TRUE(folded.fold(own()));
    EXPECT_EQ(folded.count(), 3U);
    EXPECT_LE(folded.bytes(), 150U);
    EXPECT_EQ(content(), before) << "folding changes nothing";
    there_and_back(folded);
    EXPECT_EQ(content(), before);
    EXPECT_EQ(folded.count(), 0U);
    EXPECT_EQ(folded.bytes(), 0U);
}

TEST_F(FoldedMemoryTest, AnythingComesBackAsItWas) {
    FoldedMemory folded = this->folded();
    size_t count = 0;
    for (int round = 0; round < 50; ++round) {
        for (int i = 0; i < 100; ++i) {
            const uint64_t page = random_() % kPages;
            const unsigned words = random_() % 8 == 0 ? 400 : random_() % 20;
            for (unsigned w = 0; w < words; ++w)
                memory_.page(page).store(random_() % 512 * 8, random_() % 3 == 0 ? 0 : random());
        }
        const auto before = content();
        ASSERT_TRUE(folded.fold(own()) || round > 0);
        count += folded.count();
        there_and_back(folded);
        if (HasFatalFailure()) return;
        ASSERT_EQ(content(), before) << round;
        // As after a restore: most of it is the file's again.
        ASSERT_TRUE(memory_.give_back());
        ASSERT_TRUE(map_memory(memory_, file_.get(), pages_));
    }
    EXPECT_GT(count, 1000U);
}

TEST_F(FoldedMemoryTest, WhatWasWorthItOnceIsWorthItAgain) {
    for (uint64_t page = 20; page < 80; ++page) {
        memory_.page(page).store(0, memory_.page(page).load<uint64_t>(0));
        if (page < 50) continue;
        for (uint64_t word = 0; word < 400; ++word) memory_.page(page).store(word * 8, random());
    }
    FoldedMemory folded = this->folded();
    EXPECT_EQ(own().size(), 60U);
    const auto before = content(20, 80);
    there_and_back(folded);
    EXPECT_EQ(own().size(), 30U) << "those that differ in nothing aren't its own any more";
    there_and_back(folded);
    EXPECT_EQ(content(20, 80), before);
}

TEST_F(FoldedMemoryTest, WhatIsItsOwnIsntWorthIt) {
    for (uint64_t page = 20; page < 30; ++page) fill(memory_, page);
    FoldedMemory folded = this->folded();
    const Status refused = folded.fold(own());
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code, ErrorCode::kLimit);
    EXPECT_EQ(folded.bytes(), 0U);
    for (uint64_t page = 30; page < 45; ++page) memory_.page(page).store(0, uint64_t{1});
    const auto now = content();
    there_and_back(folded);
    EXPECT_EQ(content(), now) << "pages that differ wholly come back, too";
}

TEST_F(FoldedMemoryTest, AFileOfManyRunsIsReadAnew) {
    const GuestMemory saved = make_memory();
    const Fd file = testing::make_memfd({});
    MemoryPages pages = write_memory(saved, file.get()).value();
    for (uint64_t page = 0; page + 1 < kPages; page += 2) {
        const uint64_t value = page + 1;
        ASSERT_TRUE(write_exact(file.get(), std::as_bytes(std::span(&value, 1)),
                                static_cast<off_t>(page * kPage)));
        pages.runs.push_back({page, 1});
    }
    ASSERT_TRUE(memory_.give_back());
    ASSERT_TRUE(map_memory(memory_, file.get(), pages));
    memory_.page(7).store(0, uint64_t{77});
    const auto before = content();
    FoldedMemory folded(memory_, std::move(file.duplicate()).value(), pages.runs);
    there_and_back(folded);
    EXPECT_EQ(content(), before);
}

TEST_F(FoldedMemoryTest, AFileThatCantBeReadIsAnErrorAndRamStays) {
    EXPECT_FALSE(FoldedMemory(memory_, Fd(), {}).possible());
    memory_.page(20).store(0, uint64_t{1});
    const auto before = content();
    auto deaf = open_file("/proc/self/fd/" + std::to_string(file_.get()), O_WRONLY);
    FoldedMemory folded(memory_, std::move(deaf).value(), pages_.runs);
    EXPECT_FALSE(folded.fold({20}));
    EXPECT_EQ(folded.bytes(), 0U);
    EXPECT_EQ(content(), before);
}

using FoldedMemoryDeathTest = FoldedMemoryTest;
TEST_F(FoldedMemoryDeathTest, WhoTouchesMemoryThatIsAwayIsStopped) {
    ASSERT_TRUE(memory_.take_away());
    EXPECT_DEATH(::_exit(memory_.page(20).load<int>(0)), "");
}

}  // namespace
}  // namespace drupe
