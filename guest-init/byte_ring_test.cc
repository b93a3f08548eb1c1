#include "guest-init/byte_ring.h"

#include <gtest/gtest.h>

#include <random>
#include <string>

namespace drupe::protocol {
namespace {

std::string all(const ByteRing& ring) {
    std::string text;
    while (text.size() < ring.size()) text += ring.peek(ring.begin() + text.size(), SIZE_MAX);
    return text;
}

TEST(ByteRing, TakesNoMoreThanItsCapacity) {
    ByteRing ring(4096);

    EXPECT_EQ(ring.append(std::string(5000, 'x')), 4096U);

    EXPECT_EQ(ring.room(), 0U);
    EXPECT_TRUE(ring.writable().empty());
}

TEST(ByteRing, BytesOutsideOfItAreNotThere) {
    ByteRing ring(4096, 100);
    ring.append("abc");

    EXPECT_EQ(ring.peek(99, 10), "");
    EXPECT_EQ(ring.peek(103, 10), "");
    EXPECT_EQ(ring.peek(101, 10), "bc");
    EXPECT_EQ(ring.peek(101, 1), "b");
}

TEST(ByteRing, KeepsTheOrderOfBytesThroughGrowthAndWrapping) {
    std::mt19937 random(7);  // NOLINT: the same each time
    ByteRing ring(1 << 16, 12345);
    std::string model;
    uint64_t begin = 12345;
    for (int step = 0; step < 20'000; ++step) {
        std::string bytes(random() % 3000, '\0');
        for (char& c : bytes) c = static_cast<char>(random());
        model.append(bytes, 0, ring.append(bytes));
        const size_t drop = random() % (model.size() + 1);
        model.erase(0, drop);
        begin += drop;
        ring.drop_until(begin);
        ASSERT_EQ(ring.size(), model.size());
        if (step % 100 == 0) {
            ASSERT_EQ(all(ring), model);
        }
    }
}

}  // namespace
}  // namespace drupe::protocol
