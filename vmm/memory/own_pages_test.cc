#include "vmm/memory/own_pages.h"

#include <fcntl.h>
#include <gtest/gtest.h>

#include <array>
#include <string>

#include "base/fd.h"
#include "vmm/testing/memfd.h"

namespace drupe {
namespace {

constexpr uint64_t kPage = 4096;
constexpr uint64_t kPages = 512;
constexpr uint64_t kFilePages = 256;
constexpr uint64_t kHigh = 1ULL << 32;

using Pages = std::vector<uint64_t>;

/// Two regions of half the pages each; the first is mapped from a file.
class OwnPagesTest : public ::testing::Test {
  protected:
    OwnPagesTest() {
        const std::string bytes(kFilePages * kPage, 'x');
        file_ = testing::make_memfd(std::as_bytes(std::span(bytes)));
        for (const MemoryRegion& region : memory_.regions())
            memory_.use_small_pages(region.guest_address, region.size);
        EXPECT_TRUE(memory_.map_private(0, bytes.size(), file_.get(), 0));
    }
    [[nodiscard]] Pages own(size_t most = kPages) const {
        return own_pages(memory_, pagemap_.get(), most).value().value();
    }

    const std::array<GuestMemory::Range, 2> ranges_{
        {{0, kFilePages* kPage}, {kHigh, (kPages - kFilePages) * kPage}}};
    GuestMemory memory_ = std::move(GuestMemory::create(ranges_)).value();
    Fd file_;
    Fd pagemap_ = std::move(open_file("/proc/self/pagemap", O_RDONLY)).value();
};

TEST_F(OwnPagesTest, TheyAreThoseThatWereWrittenTo) {
    EXPECT_TRUE(own().empty());
    for (uint64_t page = 0; page < kFilePages; ++page)
        EXPECT_TRUE(memory_.page(page).load<uint64_t>(0) != 0);
    EXPECT_TRUE(own().empty()) << "reading copies nothing";
    for (const uint64_t page : {0U, 3U, 255U, 256U, 511U}) memory_.page(page).store(8, uint64_t{1});
    EXPECT_EQ(own(), (Pages{0, 3, 255, 256, 511}));
    EXPECT_TRUE(memory_.page(3).discard());
    EXPECT_EQ(own(), (Pages{0, 255, 256, 511}));
    EXPECT_EQ(memory_.read<uint64_t>(kHigh + 8), 1U) << "a page's number goes on behind a gap";
}

TEST_F(OwnPagesTest, TooManyAreNone) {
    for (const uint64_t page : {0U, 3U, 256U}) memory_.page(page).store(8, uint64_t{1});
    EXPECT_EQ(own(3).size(), 3U);
    EXPECT_EQ(own_pages(memory_, pagemap_.get(), 2).value(), std::nullopt);
}

TEST_F(OwnPagesTest, AFileThatIsNoPagemapIsAnError) {
    const Fd null = std::move(open_file("/dev/null", O_RDONLY)).value();
    EXPECT_EQ(own_pages(memory_, null.get(), 2).error().code, ErrorCode::kIo);
    EXPECT_FALSE(own_pages(memory_, -1, 2));
}

}  // namespace
}  // namespace drupe
