#include "vmm/snapshot/working_set.h"

#include <gtest/gtest.h>

namespace drupe {
namespace {

WorkingSet some_set() {
    return {1000, {{0, 3}, {10, 2}}, {{3, 7}, {999, 1}}};
}

TEST(WorkingSetTest, ComesBackAsItWas) {
    EXPECT_EQ(decode_working_set(encode(some_set())).value(), some_set());
    EXPECT_EQ(decode_working_set(encode(WorkingSet())).value(), WorkingSet());
}

TEST(WorkingSetTest, WhatIsCutShortOrTooLongIsRefused) {
    const std::string bytes = encode(some_set());
    for (size_t length = 0; length < bytes.size(); ++length)
        EXPECT_FALSE(decode_working_set(bytes.substr(0, length))) << length;
    EXPECT_FALSE(decode_working_set(bytes + '\0'));
}

TEST(WorkingSetTest, RunsAreInTheMemoryAndInOrder) {
    const auto refused = [](const std::vector<PageRun>& runs) {
        return !decode_working_set(encode({1000, runs, {}})) &&
               !decode_working_set(encode({1000, {}, runs}));
    };
    EXPECT_FALSE(refused({{0, 1000}}));
    EXPECT_TRUE(refused({{0, 1001}}));
    EXPECT_TRUE(refused({{1001, 1}}));
    EXPECT_TRUE(refused({{5, 0}}));
    EXPECT_TRUE(refused({{5, UINT64_MAX}}));
    EXPECT_TRUE(refused({{5, 2}, {6, 1}}));
    EXPECT_TRUE(refused({{5, 2}, {7, 1}}));
    EXPECT_FALSE(refused({{5, 2}, {8, 1}}));
    EXPECT_TRUE(refused({{5, 2}, {4, 1}}));
}

TEST(WorkingSetTest, ItsRunsAreBounded) {
    WorkingSet set;
    set.total = 2 * kMaxWorkingSetRuns + 2;
    for (uint64_t i = 0; i < kMaxWorkingSetRuns; ++i) set.read.push_back({2 * i, 1});
    EXPECT_TRUE(decode_working_set(encode(set)));
    EXPECT_LE(encode(set).size(), kMaxWorkingSetBytes);
    set.written.push_back({1, 1});
    EXPECT_FALSE(decode_working_set(encode(set)));
}

TEST(WorkingSetTest, AnotherVersionIsRefused) {
    std::string bytes = encode(some_set());
    bytes[0] = 2;
    EXPECT_FALSE(decode_working_set(bytes));
}

}  // namespace
}  // namespace drupe
