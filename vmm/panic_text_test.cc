#include "vmm/panic_text.h"

#include <gtest/gtest.h>

#include <string_view>

namespace drupe {
namespace {

constexpr uint64_t kStart = 1 << 20;
constexpr uint64_t kSize = 2 << 20;

class PanicTextTest : public ::testing::Test {
  protected:
    PanicTextTest() {
        const GuestMemory::Range ranges[] = {{0, 640 << 10}, {kStart, kSize}};
        auto memory = GuestMemory::create(ranges);
        EXPECT_TRUE(memory);
        memory_.emplace(std::move(memory).value());
    }
    void put(uint64_t address, std::string_view text) const {
        const auto slice = memory_->slice(address, text.size());
        ASSERT_TRUE(slice);
        slice->copy_from(std::as_bytes(std::span(text)));
    }
    [[nodiscard]] std::string found() const { return find_panic_text(*memory_); }

    std::optional<GuestMemory> memory_;
};

TEST_F(PanicTextTest, IsFoundWhereverItStandsAndNotInTheFormatString) {
    EXPECT_EQ(found(), "");
    put(4096, "\0010Kernel panic - not syncing: %s\n");
    EXPECT_EQ(found(), "");
    put(kStart + (64 << 10) - 5, std::string_view("Kernel panic - not syncing: No init.\0x", 38));
    EXPECT_EQ(found(), "No init.");
}

TEST_F(PanicTextTest, IsPrintableAndBounded) {
    put(4096, "Kernel panic - not syncing: a\033[2Jb");
    EXPECT_EQ(found(), "a");
    put(4096, "Kernel panic - not syncing: " + std::string(5000, 'x'));
    EXPECT_EQ(found(), std::string(kMaxPanicText, 'x'));
}

TEST_F(PanicTextTest, TheCauseIsSaidToo) {
    using std::string_view_literals::operator""sv;
    put(8192, "\1\0BUG: unable to handle\0\0[ 1.0] other\0RIP: 0010:0xffff\0\7"sv);
    put(8300, "Kernel panic - not syncing: Oops\0"sv);
    EXPECT_EQ(found(), "Oops; BUG: unable to handle; RIP: 0010:0xffff");
    std::string many;
    for (int i = 0; i < 100; ++i) many += "RIP: " + std::to_string(i % 10) + '\n';
    put(8300 - many.size(), many);
    EXPECT_EQ(found(), "Oops; RIP: 0; RIP: 1; RIP: 2; RIP: 3; RIP: 4; RIP: 5");
}

TEST_F(PanicTextTest, EndsWithTheMemory) {
    const std::string text = "Kernel panic - not syncing: at the end";
    put(kStart + kSize - text.size(), text);
    EXPECT_EQ(found(), "at the end");
    put(kStart + kSize - text.size(), std::string(text.size(), ' '));
    put(kStart + kSize - 28, "Kernel panic - not syncing: ");
    EXPECT_EQ(found(), "");
}

}  // namespace
}  // namespace drupe
