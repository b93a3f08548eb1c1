#include "vmm/memory/touched_pages.h"

#include <gtest/gtest.h>
#include <sys/mman.h>

#include <algorithm>
#include <array>

namespace drupe {
namespace {

constexpr uint64_t kPage = 4096;
constexpr uint64_t kPages = 1024;

TEST(TouchedPagesTest, WhatHoldsDataIsAlwaysAmongThem) {
    const std::array<GuestMemory::Range, 1> ranges{{{0, kPages * kPage}}};
    const GuestMemory memory = std::move(GuestMemory::create(ranges)).value();
    memory.use_small_pages(0, kPages * kPage);
    const GuestSlice all = memory.slice(0, kPages * kPage).value();
    const auto untouched = touched_pages(all);
    EXPECT_EQ(untouched.size(), kPages);
    for (const uint64_t page : {0U, 7U, 1023U}) ASSERT_TRUE(memory.write(page * kPage, page + 1));
    const auto touched = touched_pages(all);
    for (const uint64_t page : {0U, 7U, 1023U}) EXPECT_EQ(touched[page], 1) << page;
    EXPECT_EQ(std::count(untouched.begin(), untouched.end(), 1), 0);
    EXPECT_EQ(std::count(touched.begin(), touched.end(), 1), 3);
    const iovec page = memory.slice(7 * kPage, kPage)->as_iovec();
    ASSERT_EQ(::madvise(page.iov_base, page.iov_len, MADV_DONTNEED), 0);
    EXPECT_EQ(touched_pages(all)[7], 0);
}

TEST(TouchedPagesTest, HugePagesAreTouchedAsAWhole) {
    const std::array<GuestMemory::Range, 1> ranges{{{0, 4 * kPages * kPage}}};
    const GuestMemory memory = std::move(GuestMemory::create(ranges)).value();
    ASSERT_TRUE(memory.write(5 * kPage, uint64_t{1}));
    ASSERT_TRUE(memory.write(2000 * kPage, uint64_t{1}));
    const auto touched = touched_pages(memory.slice(0, 4 * kPages * kPage).value());
    EXPECT_EQ(touched[5], 1);
    EXPECT_EQ(touched[2000], 1);
}

}  // namespace
}  // namespace drupe
