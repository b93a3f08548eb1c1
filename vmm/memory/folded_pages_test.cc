#include "vmm/memory/folded_pages.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <random>

#include "base/fd.h"
#include "vmm/memory/own_pages.h"
#include "vmm/testing/memfd.h"

namespace drupe {
namespace {

constexpr uint64_t kPage = 4096;
constexpr uint64_t kPages = 512;
constexpr uint64_t kFilePages = 256;

/// RAM whose first half is mapped from a file of random bytes.
class FoldedPagesTest : public ::testing::Test {
  protected:
    FoldedPagesTest() {
        std::string bytes(kFilePages * kPage, '\0');
        std::ranges::generate(bytes, [this] { return static_cast<char>(random_()); });
        file_ = testing::make_memfd(std::as_bytes(std::span(bytes)));
        memory_.use_small_pages(0, kPages * kPage);
        EXPECT_TRUE(memory_.map_private(0, bytes.size(), file_.get(), 0));
    }

    [[nodiscard]] std::vector<std::byte> content() const {
        std::vector<std::byte> bytes(kPages * kPage);
        memory_.slice(0, bytes.size())->copy_to(bytes);
        return bytes;
    }
    [[nodiscard]] std::vector<uint64_t> own() const {
        return own_pages(memory_, ranges_, pagemap_.get(), kPages).value().value();
    }
    void write(uint64_t page, uint64_t word, uint64_t value) const {
        EXPECT_TRUE(memory_.write(page * kPage + word * 8, value));
    }

    std::mt19937 random_{1};  // NOLINT: the same each time
    const std::array<GuestMemory::Range, 1> ranges_{{{0, kPages* kPage}}};
    GuestMemory memory_ = std::move(GuestMemory::create(ranges_)).value();
    Fd file_;
    Fd pagemap_ = std::move(open_file("/proc/self/pagemap", O_RDONLY)).value();
};

TEST_F(FoldedPagesTest, OwnPagesAreThoseThatWereWrittenTo) {
    EXPECT_TRUE(own().empty());
    (void)content();  // reading copies nothing
    EXPECT_TRUE(std::ranges::all_of(own(), [](uint64_t a) { return a >= kFilePages * kPage; }));
    for (const uint64_t page : {0U, 3U, 255U}) write(page, 1, 1);
    const auto own_of_file = [&] {
        auto all = own();
        std::erase_if(all, [](uint64_t a) { return a >= kFilePages * kPage; });
        return all;
    };
    EXPECT_EQ(own_of_file(), (std::vector<uint64_t>{0, 3 * kPage, 255 * kPage}));
    EXPECT_EQ(own_pages(memory_, ranges_, pagemap_.get(), 2).value(), std::nullopt);
    const Fd null = std::move(open_file("/dev/null", O_RDONLY)).value();
    EXPECT_EQ(own_pages(memory_, ranges_, null.get(), 2).error().code, ErrorCode::kIo);
    const std::array<GuestMemory::Range, 1> some{{{2 * kPage, 2 * kPage}}};
    EXPECT_EQ(own_pages(memory_, some, pagemap_.get(), 2).value(), std::vector{3 * kPage});
    const std::array<GuestMemory::Range, 1> beyond{{{0, kPages * kPage + kPage}}};
    EXPECT_FALSE(own_pages(memory_, beyond, pagemap_.get(), 2));
}

TEST_F(FoldedPagesTest, APageThatDiffersALittleTakesALittle) {
    write(5, 0, 1);
    write(5, 511, 2);
    write(7, 100, 3);
    write(300, 8, 4);  // fresh RAM: zeroes lie beneath
    const auto before = content();
    FoldedPages folded(memory_);
    folded.fold(own());
    EXPECT_EQ(folded.count(), 3U);
    EXPECT_LE(folded.bytes(), 100U);
    EXPECT_NE(content(), before);
    folded.unfold();
    EXPECT_EQ(content(), before);
    EXPECT_EQ(folded.bytes(), 0U);
}

TEST_F(FoldedPagesTest, WhatIsAsBeforeIsTheFilesAgain) {
    const auto before = content();
    const auto word = memory_.read<uint64_t>(9 * kPage);
    write(9, 0, ~*word);
    write(9, 0, *word);
    EXPECT_EQ(own().front(), 9 * kPage);
    FoldedPages folded(memory_);
    folded.fold(std::array{9 * kPage});
    EXPECT_EQ(folded.count(), 0U);
    EXPECT_EQ(folded.bytes(), 0U);
    EXPECT_NE(own().front(), 9 * kPage);
    folded.unfold();
    EXPECT_EQ(content(), before);
}

TEST_F(FoldedPagesTest, APageOfItsOwnStaysWhereItIs) {
    for (uint64_t word = 0; word < 512; ++word) write(11, word, word);
    for (uint64_t word = 0; word < 512; word += 2) write(12, word, word);
    for (uint64_t word = 0; word < 128; ++word) write(13, word, word);
    const auto before = content();
    FoldedPages folded(memory_);
    folded.fold(std::array{11 * kPage, 12 * kPage, 13 * kPage});
    EXPECT_EQ(folded.count(), 0U);
    EXPECT_EQ(content(), before);
    folded.unfold();
    EXPECT_EQ(content(), before);
}

TEST_F(FoldedPagesTest, AnythingComesBackAsItWas) {
    FoldedPages folded(memory_);
    size_t count = 0;
    for (int round = 0; round < 50; ++round) {
        for (int i = 0; i < 200; ++i) {
            const uint64_t page = random_() % kPages;
            const unsigned words = random_() % 8 == 0 ? 400 : random_() % 100;
            for (unsigned w = 0; w < words; ++w)
                write(page, random_() % 512, random_() % 3 == 0 ? 0 : random_());
        }
        const auto before = content();
        auto pages = own();
        folded.fold(pages);
        count += folded.count();
        folded.unfold();
        ASSERT_EQ(content(), before) << round;
    }
    EXPECT_GT(count, 50U);
}

TEST_F(FoldedPagesTest, AnAddressOutsideOfRamIsNothing) {
    FoldedPages folded(memory_);
    folded.fold(std::array{kPages * kPage, uint64_t{0} - kPage});
    EXPECT_EQ(folded.count(), 0U);
}

}  // namespace
}  // namespace drupe
