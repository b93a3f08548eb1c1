#include "vmm/snapshot/memory_pages.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "base/codec.h"
#include "base/crc32c.h"
#include "base/fd.h"
#include "vmm/testing/memfd.h"

namespace drupe {
namespace {

using ::testing::HasSubstr;

constexpr uint64_t kPage = 4096;

/// With checksums that are right in number.
MemoryPages with_sums(uint64_t total, std::vector<PageRun> runs) {
    MemoryPages pages{total, std::move(runs), {}};
    EXPECT_TRUE(for_summed_pieces(pages.runs, [&](PageRun) -> Status {
        pages.sums.push_back(static_cast<uint32_t>(pages.sums.size()) + 1);
        return ok();
    }));
    return pages;
}

std::string message_of(const std::string& bytes) {
    const auto decoded = decode_memory_pages(bytes);
    if (decoded) return "";
    EXPECT_EQ(decoded.error().code, ErrorCode::kCorrupt);
    return decoded.error().message;
}

TEST(MemoryPagesTest, RunsOfAnybodysMakingAreBounded) {
    const MemoryPages good = with_sums(1000, {{0, 5}, {6, 257}, {900, 100}});
    ASSERT_EQ(good.sums.size(), 4U);
    const std::string bytes = encode_memory_pages(good);
    EXPECT_EQ(decode_memory_pages(bytes).value().runs, good.runs);
    EXPECT_EQ(decode_memory_pages(bytes).value().sums, good.sums);
    for (size_t size = 0; size < bytes.size(); ++size)
        EXPECT_THAT(message_of(bytes.substr(0, size)), HasSubstr("section memory: ")) << size;
    EXPECT_NE(message_of(bytes + "x"), "");
    for (const std::vector<PageRun>& runs : std::vector<std::vector<PageRun>>{
             {{0, 101}}, {{0, 0}}, {{101, 1}}, {{10, 5}, {14, 2}}, {{10, 5}, {3, 2}}}) {
        EXPECT_THAT(message_of(encode_memory_pages(with_sums(100, runs))),
                    HasSubstr("section memory: a run of pages"));
    }
    for (const PageRun& run : {PageRun{5, UINT64_MAX}, PageRun{UINT64_MAX, 2}})
        EXPECT_THAT(message_of(encode_memory_pages({100, {run}, {1}})), HasSubstr("a run of"));
    EXPECT_THAT(message_of(encode_memory_pages({1ULL << 60, {}, {}})), HasSubstr("more pages"));
}

TEST(MemoryPagesTest, ThereIsAChecksumForEachPieceAndNoOther) {
    MemoryPages pages = with_sums(10000, {{0, 256}, {300, 257}, {900, 513}});
    ASSERT_EQ(pages.sums.size(), 6U);
    EXPECT_EQ(message_of(encode_memory_pages(pages)), "");
    pages.sums.push_back(1);
    EXPECT_THAT(message_of(encode_memory_pages(pages)), HasSubstr("hasn't a checksum for each"));
    pages.sums.resize(5);
    EXPECT_THAT(message_of(encode_memory_pages(pages)), HasSubstr("hasn't a checksum for each"));
}

/// A file with runs at pages 1 (one page) and 3 (a page and a hole).
class VerifyMemoryTest : public ::testing::Test {
  protected:
    VerifyMemoryTest() {
        std::string content(5 * kPage, '\0');
        for (const size_t page : {size_t{1}, size_t{3}})
            for (size_t i = 0; i < kPage; ++i) content[page * kPage + i] = static_cast<char>(i * 7);
        file_ = testing::make_memfd(std::as_bytes(std::span(content)));
        const auto sum = [&](size_t page, size_t count) {
            return crc32c(std::as_bytes(std::span(content).subspan(page * kPage, count * kPage)));
        };
        pages_ = {5, {{1, 1}, {3, 2}}, {sum(1, 1), sum(3, 2)}};
    }

    void flip(size_t bit) const {
        char byte = 0;
        const auto at = static_cast<off_t>(bit / 8);
        ASSERT_EQ(::pread(file_.get(), &byte, 1, at), 1);
        byte = static_cast<char>(byte ^ (1 << (bit % 8)));
        ASSERT_EQ(::pwrite(file_.get(), &byte, 1, at), 1);
    }
    std::string message() const {
        const Status verified = verify_memory(file_.get(), pages_);
        if (verified) return "";
        EXPECT_EQ(verified.error().code, ErrorCode::kCorrupt);
        return verified.error().message;
    }

    Fd file_;
    MemoryPages pages_;
};

TEST_F(VerifyMemoryTest, AnyFlippedBitOfARunIsFoundWithItsPlace) {
    EXPECT_EQ(message(), "");
    for (size_t bit = 0; bit < 5 * kPage * 8; ++bit) {
        const size_t page = bit / 8 / kPage;
        if (page == 0 || page == 2) continue;  // what these have means nothing
        flip(bit);
        ASSERT_EQ(message(), page == 1 ? "memory file: bytes 4096 to 8191 don't have their "
                                         "checksum: the snapshot is damaged"
                                       : "memory file: bytes 12288 to 20479 don't have their "
                                         "checksum: the snapshot is damaged")
            << bit;
        flip(bit);
    }
    flip(0);
    flip(2 * kPage * 8);
    EXPECT_EQ(message(), "") << "between the runs";
}

TEST_F(VerifyMemoryTest, AFileThatIsCutIsFound) {
    for (const uint64_t size : {uint64_t{0}, kPage, kPage + 1, 4 * kPage, 5 * kPage - 1}) {
        ASSERT_EQ(::ftruncate(file_.get(), static_cast<off_t>(size)), 0);
        EXPECT_THAT(message(), HasSubstr("memory file: ")) << size;
    }
}

}  // namespace
}  // namespace drupe
