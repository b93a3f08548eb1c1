#include "devices/virtio/virtqueue.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <thread>

#include "devices/virtio/testing/fake_driver.h"

#define VIRTIO_RING_NO_LEGACY
#include <linux/virtio_ring.h>

namespace drupe::virtio {
namespace {

using testing::Buffer;
using testing::FakeDriver;
using ::testing::HasSubstr;

constexpr uint64_t kRam = 4 << 20;
constexpr uint64_t kHigh = 1ULL << 32;

GuestMemory make_memory() {
    const std::array<GuestMemory::Range, 2> ranges{{{0, kRam}, {kHigh, kRam}}};
    return std::move(GuestMemory::create(ranges)).value();
}

struct VirtQueueTest : public ::testing::Test {
    VirtQueue make(uint16_t size = 8, bool event_idx = false, bool indirect = true) {
        driver.emplace(memory, FakeDriver::Options{.size = size, .event_idx = event_idx});
        return create(driver->state(), event_idx, indirect).value();
    }
    Result<VirtQueue> create(const QueueState& state, bool event_idx = false,
                             bool indirect = true) {
        return VirtQueue::create(memory, state,
                                 {.max_size = 256, .event_idx = event_idx, .indirect = indirect});
    }
    /// Pops a chain that must be there and gives it back.
    static void serve_one(VirtQueue& queue, uint32_t written = 0) {
        auto chain = queue.pop();
        ASSERT_TRUE(chain) << chain.error().message;
        ASSERT_TRUE(chain.value());
        queue.complete(std::move(*chain.value()), written);
    }
    /// What is available is one malformed chain: it comes back with length 0 and the queue lives.
    void expect_fault(VirtQueue& queue, const std::string& why) {
        auto chain = queue.pop();
        ASSERT_TRUE(chain) << chain.error().message;
        EXPECT_FALSE(chain.value());
        EXPECT_EQ(queue.faults(), 1U);
        EXPECT_THAT(queue.last_fault(), HasSubstr(why));
        const auto used = driver->take_used_unchecked();
        ASSERT_TRUE(used);
        EXPECT_EQ(used->head, 0);
        EXPECT_EQ(used->length, 0U);
        // The next request is served as if nothing had been.
        driver->set_descriptor(1, 0x1000, 16, VRING_DESC_F_WRITE, 0);
        driver->publish(1);
        serve_one(queue, 16);
        EXPECT_EQ(driver->take_used_unchecked()->length, 16U);
    }
    void expect_broken(VirtQueue& queue, const std::string& why) {
        auto chain = queue.pop();
        ASSERT_FALSE(chain);
        EXPECT_THAT(chain.error().message, HasSubstr(why));
        EXPECT_FALSE(queue.pop());  // and for good
    }

    GuestMemory memory = make_memory();
    std::optional<FakeDriver> driver;
};

TEST_F(VirtQueueTest, BytesGoBothWaysAcrossParts) {
    VirtQueue queue = make();
    const std::array buffers{Buffer{driver->put("hel"), 3}, Buffer{driver->put("lo"), 2},
                             Buffer{driver->allocate(2), 2, true},
                             Buffer{driver->allocate(4), 4, true}};
    const uint16_t head = driver->add(buffers);

    auto chain = std::move(queue.pop().value().value());
    EXPECT_EQ(chain.readable_size(), 5U);
    EXPECT_EQ(chain.writable_size(), 6U);
    std::string text(5, ' ');
    EXPECT_EQ(chain.read(1, std::as_writable_bytes(std::span(text))), 4U);
    EXPECT_EQ(text, "ello ");
    EXPECT_EQ(chain.write(1, std::as_bytes(std::span(std::string_view("world!")))), 5U);
    std::vector<iovec> iovecs;
    chain.writable_iovecs(1, 3, iovecs);
    ASSERT_EQ(iovecs.size(), 2U);
    EXPECT_EQ(iovecs[0].iov_len, 1U);
    EXPECT_EQ(iovecs[1].iov_len, 2U);
    queue.complete(std::move(chain), 6);

    const auto used = driver->take_used();
    EXPECT_EQ(used->head, head);
    EXPECT_EQ(used->length, 6U);
    EXPECT_EQ(driver->get(buffers[2].address + 1, 1) + driver->get(buffers[3].address, 4), "world");
}

TEST_F(VirtQueueTest, IndicesWrapAroundManyTimes) {
    for (const bool event_idx : {false, true}) {
        VirtQueue queue = make(4, event_idx);
        const uint64_t place = driver->allocate(64);
        for (uint32_t i = 0; i < 70'000; ++i) {
            const std::array buffers{Buffer{place, 8}, Buffer{place + 8, 8, true}};
            driver->want_interrupt(i % 3 == 0);
            (i % 2 == 0) ? driver->add(buffers) : driver->add_indirect(buffers);
            ASSERT_TRUE(driver->kick_needed());
            serve_one(queue, 8);
            ASSERT_EQ(queue.needs_interrupt(), i % 3 == 0) << i;
            ASSERT_FALSE(queue.enable_notifications());
            ASSERT_TRUE(driver->take_used());
        }
        EXPECT_EQ(driver->outstanding(), 0U);
        EXPECT_EQ(queue.faults(), 0U);
    }
}

TEST_F(VirtQueueTest, OneInterruptAndOneKickServeABatch) {
    for (const bool event_idx : {false, true}) {
        VirtQueue queue = make(8, event_idx);
        const std::array buffers{Buffer{driver->allocate(8), 8, true}};
        driver->add(buffers);
        EXPECT_TRUE(driver->kick_needed());
        queue.disable_notifications();
        driver->add(buffers);
        EXPECT_FALSE(driver->kick_needed());  // the device is at work already
        serve_one(queue);
        EXPECT_TRUE(queue.enable_notifications());  // one more is there
        queue.disable_notifications();
        serve_one(queue);
        EXPECT_FALSE(queue.enable_notifications());
        EXPECT_TRUE(queue.needs_interrupt());
        EXPECT_FALSE(queue.needs_interrupt());  // nothing new since
        driver->add(buffers);
        EXPECT_TRUE(driver->kick_needed());
        serve_one(queue);
    }
}

TEST_F(VirtQueueTest, GoesOnWhereASavedQueueStopped) {
    VirtQueue queue = make(4, true);
    const std::array buffers{Buffer{driver->allocate(8), 8, true}};
    for (int i = 0; i < 3; ++i) {
        driver->add(buffers);
        serve_one(queue, 8);
        ASSERT_TRUE(driver->take_used());
    }
    const QueueState saved = queue.state();
    EXPECT_EQ(saved.next_avail, 3);
    VirtQueue restored = create(saved, true).value();
    driver->want_interrupt(true);
    driver->add(buffers);
    serve_one(restored, 8);
    EXPECT_TRUE(restored.needs_interrupt());
    EXPECT_TRUE(driver->take_used());
}

TEST_F(VirtQueueTest, Case1BadSizesAndAlignmentsAreRefused) {
    make();
    const QueueState good = driver->state();
    for (const uint16_t size : {0, 3, 7, 257, 512, 0x8000, 0xffff}) {
        QueueState state = good;
        state.size = size;
        EXPECT_FALSE(create(state)) << size;
    }
    for (uint64_t QueueState::*ring : {&QueueState::desc, &QueueState::avail, &QueueState::used}) {
        QueueState state = good;
        state.*ring += 1;
        EXPECT_FALSE(create(state));
    }
}

TEST_F(VirtQueueTest, Case6RingsOutsideOfRamAreRefused) {
    make();
    for (uint64_t QueueState::*ring : {&QueueState::desc, &QueueState::avail, &QueueState::used}) {
        for (const uint64_t address :
             {kRam, kRam - 16, kHigh - 16, kHigh + kRam, ~uint64_t{0} - 15, uint64_t{0xd0000000}}) {
            QueueState state = driver->state();
            state.*ring = address;
            EXPECT_FALSE(create(state)) << address;
        }
    }
}

TEST_F(VirtQueueTest, Case6BuffersOutsideOfRamAreFaults) {
    struct Range {
        uint64_t address;
        uint32_t size;
    };
    for (const Range range :
         {Range{kRam, 1}, Range{kRam - 1, 2}, Range{0xfee00000, 4}, Range{~uint64_t{0}, 2},
          Range{~uint64_t{0} - 3, 0xffffffff}, Range{kHigh + kRam - 1, 2}, Range{0, 0xffffffff}}) {
        VirtQueue queue = make();
        driver->set_descriptor(0, range.address, range.size, 0, 0);
        driver->publish(0);
        expect_fault(queue, "buffer outside of RAM");
    }
}

TEST_F(VirtQueueTest, Case6AChainOfMoreThan4GiBIsAFault) {
    const std::array<GuestMemory::Range, 1> big{{{0, 1ULL << 30}}};
    memory = std::move(GuestMemory::create(big)).value();
    VirtQueue queue = make(8);
    for (uint16_t i = 0; i < 8; ++i)
        driver->set_descriptor(i, 0, 1U << 30, i == 7 ? 0 : VRING_DESC_F_NEXT,
                               static_cast<uint16_t>(i + 1));
    driver->publish(0);
    expect_fault(queue, "more than 4 GiB");
}

TEST_F(VirtQueueTest, Case3LoopsAreFaultsAndNotHangs) {
    VirtQueue self = make();
    driver->set_descriptor(0, 0x1000, 8, VRING_DESC_F_NEXT, 0);
    driver->publish(0);
    expect_fault(self, "longer than its queue");

    VirtQueue cycle = make();
    driver->set_descriptor(0, 0x1000, 8, VRING_DESC_F_NEXT, 5);
    driver->set_descriptor(5, 0x1000, 8, VRING_DESC_F_NEXT, 0);
    driver->publish(0);
    expect_fault(cycle, "longer than its queue");

    VirtQueue indirect = make();
    driver->set_descriptor_at(0x2000, 0x1000, 8, VRING_DESC_F_NEXT, 0);
    driver->set_descriptor(0, 0x2000, 16, VRING_DESC_F_INDIRECT, 0);
    driver->publish(0);
    expect_fault(indirect, "longer than its queue");
}

TEST_F(VirtQueueTest, Case3NextOutsideOfTheTableIsAFault) {
    for (const uint16_t next : {8, 9, 0x7fff, 0xffff}) {
        VirtQueue queue = make();
        driver->set_descriptor(0, 0x1000, 8, VRING_DESC_F_NEXT, next);
        driver->publish(0);
        expect_fault(queue, "outside of its table");
    }
}

TEST_F(VirtQueueTest, Case3AChainAsLongAsItsQueueIsServed) {
    VirtQueue queue = make(8);
    const std::vector<Buffer> buffers(8, Buffer{driver->allocate(8), 8, true});
    driver->add(buffers);
    serve_one(queue, 64);
    EXPECT_EQ(driver->take_used()->length, 64U);
    driver->add_indirect(buffers);
    serve_one(queue, 64);
    EXPECT_EQ(driver->take_used()->length, 64U);
}

TEST_F(VirtQueueTest, Case4BadIndirectTablesAreFaults) {
    struct Bad {
        uint64_t table;
        uint32_t size;
        uint16_t flags;
        const char* why;
    };
    for (const Bad& bad :
         {Bad{0x2000, 0, 0, "table of 0 bytes"}, Bad{0x2000, 15, 0, "table of 15 bytes"},
          Bad{0x2000, 24, 0, "table of 24 bytes"}, Bad{0x2000, 9 * 16, 0, "table of 144 bytes"},
          Bad{0x2000, 0xfffffff0, 0, "table of"}, Bad{0x2000, 16, VRING_DESC_F_NEXT, "with NEXT"},
          Bad{kRam - 8, 16, 0, "table outside of RAM"},
          Bad{~uint64_t{0} - 7, 16, 0, "table outside of RAM"}}) {
        VirtQueue queue = make();
        driver->set_descriptor_at(0x2000, 0x1000, 8, 0, 0);
        driver->set_descriptor(0, bad.table, bad.size,
                               static_cast<uint16_t>(VRING_DESC_F_INDIRECT | bad.flags), 1);
        driver->publish(0);
        expect_fault(queue, bad.why);
    }
    VirtQueue nested = make();
    driver->set_descriptor_at(0x2000, 0x2000, 16, VRING_DESC_F_INDIRECT, 0);
    driver->set_descriptor(0, 0x2000, 16, VRING_DESC_F_INDIRECT, 0);
    driver->publish(0);
    expect_fault(nested, "in an indirect table");

    VirtQueue without = make(8, false, /*indirect=*/false);
    driver->set_descriptor_at(0x2000, 0x1000, 8, 0, 0);
    driver->set_descriptor(0, 0x2000, 16, VRING_DESC_F_INDIRECT, 0);
    driver->publish(0);
    expect_fault(without, "without the feature");
}

TEST_F(VirtQueueTest, Case4AnIndirectTableMayFollowDirectDescriptors) {
    VirtQueue queue = make();
    driver->set_descriptor_at(0x2000, 0x1000, 8, VRING_DESC_F_WRITE, 0);
    driver->set_descriptor(0, 0x1000, 4, VRING_DESC_F_NEXT, 1);
    driver->set_descriptor(1, 0x2000, 16, VRING_DESC_F_INDIRECT, 0);
    driver->publish(0);
    auto chain = std::move(queue.pop().value().value());
    EXPECT_EQ(chain.readable_size(), 4U);
    EXPECT_EQ(chain.writable_size(), 8U);
    queue.complete(std::move(chain), 8);
}

TEST_F(VirtQueueTest, Case5AvailIndexTooFarAheadBreaksTheQueue) {
    for (const int jump : {9, 100, 0x8000, 0xffff}) {  // 0xffff: backwards by one
        VirtQueue queue = make();
        driver->set_avail_index(static_cast<uint16_t>(jump));
        expect_broken(queue, "avail index");
    }
}

TEST_F(VirtQueueTest, Case8AReadablePartAfterAWritableOneIsAFault) {
    VirtQueue queue = make();
    driver->set_descriptor(0, 0x1000, 8, VRING_DESC_F_NEXT | VRING_DESC_F_WRITE, 1);
    driver->set_descriptor(1, 0x1000, 8, 0, 0);
    driver->publish(0);
    expect_fault(queue, "readable buffer after a writable one");
}

TEST_F(VirtQueueTest, Case8AliasedAndEmptyBuffersAreHarmless) {
    VirtQueue queue = make();
    const uint64_t rings = driver->state().desc;  // a buffer over the descriptors themselves
    const std::array buffers{Buffer{0x1000, 0}, Buffer{rings, 16}, Buffer{rings, 16},
                             Buffer{0x1000, 0, true}, Buffer{rings + 96, 16, true}};
    driver->add(buffers);
    auto chain = std::move(queue.pop().value().value());
    EXPECT_EQ(chain.readable_size(), 32U);
    EXPECT_EQ(chain.readable().size(), 2U);
    EXPECT_EQ(chain.writable_size(), 16U);
    queue.complete(std::move(chain), 16);
    EXPECT_TRUE(driver->take_used());
}

TEST_F(VirtQueueTest, Case11AHeadOutsideOfTheTableBreaksTheQueue) {
    for (const uint16_t head : {8, 0x7fff, 0xffff}) {
        VirtQueue queue = make();
        driver->publish(head);
        expect_broken(queue, "outside of the table");
    }
}

TEST_F(VirtQueueTest, Case11DuplicateHeadsCantGrowWhatIsInFlight) {
    VirtQueue queue = make(4);
    driver->set_descriptor(0, 0x1000, 8, VRING_DESC_F_WRITE, 0);
    std::vector<DescriptorChain> held;
    held.reserve(4);
    for (int i = 0; i < 4; ++i) driver->publish(0);
    for (int i = 0; i < 4; ++i) held.push_back(std::move(queue.pop().value().value()));
    driver->publish(0);
    EXPECT_EQ(queue.in_flight(), 4);
    expect_broken(queue, "more chains in flight");
    for (DescriptorChain& chain : held) queue.complete(std::move(chain), 8);
    EXPECT_EQ(queue.in_flight(), 0);
}

TEST_F(VirtQueueTest, Case11AThousandBadChainsLeakNothing) {
    VirtQueue queue = make(8);
    for (uint16_t i = 0; i < 8; ++i) driver->set_descriptor(i, kRam, 8, 0, 0);
    for (uint16_t i = 0; i < 1000; ++i) {
        for (uint16_t head = 0; head < 8; ++head) driver->publish(head);
        ASSERT_FALSE(queue.pop().value());
        for (uint16_t head = 0; head < 8; ++head)
            ASSERT_EQ(driver->take_used_unchecked()->head, head);
    }
    EXPECT_EQ(queue.faults(), 8000U);
    EXPECT_EQ(queue.in_flight(), 0);
}

#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define DRUPE_TSAN 1
#endif
#endif
#if !defined(DRUPE_TSAN) && !defined(__SANITIZE_THREAD__)
// Races by design: what is tested is that no torn value gets past a check.
TEST_F(VirtQueueTest, Case7DescriptorsThatChangeMeanwhileStayInBounds) {
    VirtQueue queue = make(8);
    std::atomic<bool> stop = false;
    std::thread vcpu([&] {
        uint64_t seed = 1;
        while (!stop) {
            seed = seed * 6364136223846793005ULL + 1442695040888963407ULL;
            const auto index = static_cast<uint16_t>(seed >> 61);
            const auto flags = static_cast<uint16_t>(seed >> 40 & 7);
            driver->set_descriptor(index, (seed >> 20) % (2 * kRam), seed >> 44 & 0xffff, flags,
                                   static_cast<uint16_t>(seed >> 50 & 15));
        }
    });
    std::array<std::byte, 256> bytes{};
    for (int i = 0; i < 20'000; ++i) {
        driver->publish(static_cast<uint16_t>(i % 8));
        auto chain = queue.pop().value();
        if (!chain) continue;
        uint64_t readable = 0;
        for (const GuestSlice& part : chain->readable()) readable += part.size();
        EXPECT_EQ(readable, chain->readable_size());
        chain->read(0, bytes);
        queue.complete(std::move(*chain), 0);
    }
    stop = true;
    vcpu.join();
}
#endif

}  // namespace
}  // namespace drupe::virtio
