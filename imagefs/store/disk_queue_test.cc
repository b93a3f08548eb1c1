#include "imagefs/store/disk_queue.h"

#include <fcntl.h>
#include <gtest/gtest.h>

#include <deque>
#include <map>
#include <random>

#include "imagefs/store/block_backend_conformance.h"
#include "imagefs/store/queued_disk.h"
#include "imagefs/store/scripted_io.h"
#include "imagefs/store/test_support.h"

namespace drupe::imagefs {
namespace {

using test::BlockBackendConformance;
using test::DiskMaker;
using test::DiskUnderTest;
using test::memory_file;
using test::QueuedDisk;
using test::ScriptedIo;
using test::stamped;
using test::value_of;

constexpr uint64_t kBlocks = 128;
constexpr uint64_t kParentStamp = 1000;  // of block n: 1000 + n, for even n

bool parent_has(uint64_t lba) {
    return lba % 2 == 0;
}

DiskFiles files() {
    std::vector<test::LayerBlock> blocks;
    for (uint64_t lba = 0; lba < kBlocks; ++lba)
        if (parent_has(lba)) blocks.push_back({lba, kParentStamp + lba});
    std::vector<LayerFile> layers;
    layers.push_back(test::make_layer(1, kBlocks, blocks));
    DiskFiles files = test::files_of(layers);
    files.top_data = memory_file();
    files.top_meta = memory_file();
    EXPECT_OK(WritableTop::format(files.top_data.get(), files.top_meta.get(), kBlocks,
                                  test::digest_number(1)));
    return files;
}

std::vector<std::byte> content() {
    std::vector<std::byte> content(kBlocks * 4096);
    for (uint64_t lba = 0; lba < kBlocks; ++lba) {
        if (!parent_has(lba)) continue;
        const test::Block block = stamped(kParentStamp + lba);
        std::ranges::copy(block, content.begin() + static_cast<ptrdiff_t>(lba * 4096));
    }
    return content;
}

std::unique_ptr<BlockBackend> layered() {
    return value_of(LayeredDisk::open(files()));
}
std::unique_ptr<BlockBackend> raw() {
    Fd file = memory_file();
    EXPECT_OK(write_exact(file.get(), content(), 0));
    return value_of(open_raw_disk(std::move(file), false));
}
std::unique_ptr<DiskIo> ring() {
    return value_of(make_ring_io(), "this host has no io_uring: ");
}

DiskMaker maker(const char* name, std::unique_ptr<BlockBackend> (*disk)(),
                std::unique_ptr<DiskIo> (*io)()) {
    return {name, [disk, io]() -> DiskUnderTest {
                return {std::make_unique<QueuedDisk>(disk(), io()), content()};
            }};
}

INSTANTIATE_TEST_SUITE_P(Queued, BlockBackendConformance,
                         ::testing::Values(maker("LayeredOverARing", layered, ring),
                                           maker("LayeredOverPlainCalls", layered, make_plain_io),
                                           maker("RawOverARing", raw, ring),
                                           maker("RawOverPlainCalls", raw, make_plain_io),
                                           maker(
                                               "ABackendThatIsNotDirect",
                                               []() -> std::unique_ptr<BlockBackend> {
                                                   return std::make_unique<test::FakeDisk>(
                                                       content());
                                               },
                                               ring)),
                         [](const auto& param) { return param.param.name; });

/// A loop whose timers run when the test says so.
class TimerLoop final : public EventLoop {
  public:
    Watch on_readable(int, std::function<void()>) override { return std::make_unique<Handle>(); }
    Watch on_writable(int, std::function<void()>) override { return std::make_unique<Handle>(); }
    Watch after(std::chrono::nanoseconds delay, std::function<void()> callback) override {
        EXPECT_EQ(delay, std::chrono::seconds(1));
        timers.push_back(std::move(callback));
        return std::make_unique<Handle>();
    }
    void post(std::function<void()>) override {}
    void run() override {}
    void stop() override {}
    [[nodiscard]] uint64_t now_ns() const override { return 0; }
    void second_passes() {
        for (const auto& timer : std::exchange(timers, {})) timer();
    }

    std::vector<std::function<void()>> timers;
};

/// One request with a buffer of its own.
struct Request : DiskRequest {
    explicit Request(Kind of_kind, uint64_t lba = 0, uint64_t blocks = 1, uint64_t stamp = 0)
        : buffer(blocks * 4096) {
        kind = of_kind;
        offset = lba * 4096;
        length = blocks * 4096;
        for (size_t i = 0; i < blocks; ++i)
            std::ranges::copy(stamped(stamp), buffer.begin() + static_cast<ptrdiff_t>(i * 4096));
        iovecs.push_back({buffer.data(), buffer.size()});
        if (kind == Kind::kDiscard || kind == Kind::kWriteZeroes)
            ranges.push_back({offset, length, true});
    }
    [[nodiscard]] uint64_t stamp() const { return test::stamp_of(buffer).value_or(~0ULL); }
    std::vector<std::byte> buffer;
};

class DiskQueueTest : public ::testing::Test, protected DiskQueue::Client {
  protected:
    DiskQueueTest()
        : disk_(value_of(LayeredDisk::open(files()))),
          queue_({"blk0", &loop_, std::make_unique<ScriptedIo>(script_)}, *this) {
        queue_.use(disk_.get());
    }
    ~DiskQueueTest() override { queue_.cancel(); }

    using Kind = DiskRequest::Kind;
    void done(DiskRequest& request, const Status& status) override {
        ended_.push_back(&request);
        statuses_.emplace(&request, status);
    }
    void progressed() override { ++progressed_; }

    Request& submit(Kind kind, uint64_t lba = 0, uint64_t blocks = 1, uint64_t stamp = 0) {
        requests_.emplace_back(kind, lba, blocks, stamp);
        queue_.submit(requests_.back());
        queue_.run();
        return requests_.back();
    }
    void finish(size_t i, int error = 0) {
        script_.finish(i, error);
        queue_.run();
    }
    [[nodiscard]] bool ended(const Request& request) const { return statuses_.contains(&request); }
    [[nodiscard]] const Status& status(const Request& request) const {
        return statuses_.at(&request);
    }
    [[nodiscard]] size_t under_way() const { return script_.under_way.size(); }
    uint64_t stamp_at(uint64_t lba) { return test::read_stamp(*disk_, lba).value_or(~0ULL); }

    ScriptedIo::Script script_;
    TimerLoop loop_;
    std::unique_ptr<LayeredDisk> disk_;
    std::deque<Request> requests_;
    std::vector<const DiskRequest*> ended_;
    std::map<const DiskRequest*, Status> statuses_;
    int progressed_ = 0;
    DiskQueue queue_;
};

TEST_F(DiskQueueTest, RequestsAreUnderWayTogetherAndEndInAnyOrder) {
    const Request& a = submit(Kind::kRead, 0);
    const Request& b = submit(Kind::kRead, 2);
    const Request& c = submit(Kind::kWrite, 4, 1, 7);
    EXPECT_EQ(under_way(), 3U);
    finish(2);
    finish(1);
    EXPECT_FALSE(ended(a));
    finish(0);
    EXPECT_EQ(ended_, (std::vector<const DiskRequest*>{&c, &b, &a}));
    EXPECT_EQ(a.stamp(), kParentStamp);
    EXPECT_EQ(b.stamp(), kParentStamp + 2);
    EXPECT_OK(status(c));
    EXPECT_EQ(stamp_at(4), 7U);
}

TEST_F(DiskQueueTest, WhatNobodyWroteNeedsNoOperation) {
    const Request& read = submit(Kind::kRead, 1, 1, 99);
    EXPECT_EQ(under_way(), 0U);
    ASSERT_TRUE(ended(read));
    EXPECT_EQ(read.stamp(), 0U);
}

TEST_F(DiskQueueTest, AReadDoesNotOvertakeAWriteThatItOverlaps) {
    submit(Kind::kWrite, 10, 4, 7);
    const Request& read = submit(Kind::kRead, 13, 2);
    EXPECT_EQ(under_way(), 1U);
    EXPECT_FALSE(queue_.accepts());
    finish(0);
    EXPECT_EQ(under_way(), 1U);
    EXPECT_TRUE(queue_.accepts());
    finish(0);  // block 13, of the top
    finish(0);  // block 14, of the layer
    ASSERT_TRUE(ended(read));
    EXPECT_EQ(test::stamp_of(std::span(read.buffer).first(4096)), 7U);
    EXPECT_EQ(test::stamp_of(std::span(read.buffer).last(4096)), kParentStamp + 14);
}

TEST_F(DiskQueueTest, AWriteWaitsForEveryRequestThatItOverlapsAndTheOthersBehindIt) {
    submit(Kind::kRead, 0, 1);
    submit(Kind::kRead, 2, 1);
    submit(Kind::kWrite, 2, 1, 7);
    const Request& behind = submit(Kind::kRead, 20);
    EXPECT_EQ(under_way(), 2U);
    finish(0);
    EXPECT_EQ(under_way(), 1U) << "the read of block 2 is still under way";
    finish(0);
    EXPECT_EQ(under_way(), 2U);
    EXPECT_FALSE(ended(behind));
    finish(1);
    EXPECT_TRUE(ended(behind));
    finish(0);
    EXPECT_EQ(stamp_at(2), 7U);
}

TEST_F(DiskQueueTest, DiscardsWaitUntilNothingIsUnderWay) {
    submit(Kind::kWrite, 3, 1, 7);
    const Request& discard = submit(Kind::kDiscard, 2, 4);
    EXPECT_FALSE(ended(discard));
    finish(0);
    ASSERT_TRUE(ended(discard));
    for (uint64_t lba = 2; lba < 6; ++lba) EXPECT_EQ(stamp_at(lba), 0U);
}

TEST_F(DiskQueueTest, AFlushThatHasMarksToWriteWaitsForWritesAndItsPunchSparesThem) {
    script_.at_once = true;
    submit(Kind::kFlush);  // the new top's first
    submit(Kind::kDiscard, 2, 1);
    script_.at_once = false;
    submit(Kind::kWrite, 2, 1, 7);  // over the pending mark
    const Request& flush = submit(Kind::kFlush);
    EXPECT_FALSE(ended(flush));
    finish(0);
    EXPECT_TRUE(ended(flush));
    EXPECT_EQ(stamp_at(2), 7U);
    // Without marks it is one fdatasync, beside others.
    submit(Kind::kRead, 0);
    submit(Kind::kFlush);
    ASSERT_EQ(under_way(), 2U);
    EXPECT_EQ(script_.under_way[1].kind, DiskOperation::Kind::kSync);
}

TEST_F(DiskQueueTest, AFailedWriteLeavesTheParentsData) {
    const Request& write = submit(Kind::kWrite, 2, 1, 7);
    EXPECT_EQ(stamp_at(2), kParentStamp + 2);
    finish(0, EIO);
    ASSERT_TRUE(ended(write));
    EXPECT_EQ(status(write).error().os_errno, EIO);
    EXPECT_EQ(stamp_at(2), kParentStamp + 2);
    EXPECT_FALSE(queue_.paused());
}

TEST_F(DiskQueueTest, AFailedReadIsAnErrorOfThatRequestAlone) {
    const Request& bad = submit(Kind::kRead, 0);
    const Request& good = submit(Kind::kRead, 2);
    finish(0, EIO);
    finish(0);
    EXPECT_EQ(status(bad).error().os_errno, EIO);
    EXPECT_OK(status(good));
}

TEST_F(DiskQueueTest, AFailedSyncIsSticky) {
    script_.at_once = true;
    submit(Kind::kFlush);
    script_.next_results = {EIO};
    EXPECT_FAILS(status(submit(Kind::kFlush)), kIo, "fdatasync");
    EXPECT_FAILS(status(submit(Kind::kFlush)), kIo, "fdatasync");
    EXPECT_FAILS(disk_->close(), kIo, "fdatasync");
}

TEST_F(DiskQueueTest, ShortTransfersAndInterruptedCallsAreContinued) {
    script_.at_once = true;
    script_.most_bytes = 1000;
    EXPECT_OK(status(submit(Kind::kWrite, 2, 3, 7)));
    script_.next_results = {EINTR, EAGAIN, 0, EINTR};
    const Request& read = submit(Kind::kRead, 2, 3);
    EXPECT_OK(status(read));
    EXPECT_EQ(read.stamp(), 7U);
    // For ever isn't: 1000 times.
    script_.next_results.assign(2000, EAGAIN);
    const Request& hopeless = submit(Kind::kRead, 0);
    EXPECT_EQ(status(hopeless).error().os_errno, EAGAIN);
}

TEST_F(DiskQueueTest, AFullHostPausesTheDiskAndItGoesOnWhenThereIsRoom) {
    const Request& write = submit(Kind::kWrite, 2, 2, 7);
    const Request& other = submit(Kind::kWrite, 8, 1, 8);
    finish(0, ENOSPC);
    EXPECT_TRUE(queue_.paused());
    EXPECT_FALSE(queue_.accepts());
    finish(0);  // the other was under way
    EXPECT_TRUE(ended(other));
    const Request& read = submit(Kind::kRead, 0);
    EXPECT_EQ(under_way(), 0U) << "nothing new begins";

    loop_.second_passes();
    ASSERT_EQ(under_way(), 2U) << "it is tried again, and those behind it are";
    finish(0, ENOSPC);
    EXPECT_TRUE(queue_.paused());
    EXPECT_FALSE(ended(write));
    EXPECT_EQ(stamp_at(2), kParentStamp + 2);

    loop_.second_passes();
    finish(1);
    EXPECT_TRUE(ended(write));
    EXPECT_OK(status(write));
    EXPECT_FALSE(queue_.paused());
    finish(0);
    EXPECT_TRUE(ended(read));
    EXPECT_EQ(stamp_at(2), 7U);
    EXPECT_EQ(stamp_at(3), 7U);
    EXPECT_EQ(progressed_, 2);
}

TEST_F(DiskQueueTest, RoomThatIsThereBeforeTheSecondIsOverIsFoundByWhoAsks) {
    script_.next_results = {ENOSPC};
    const Request& write = submit(Kind::kWrite, 2, 1, 7);
    EXPECT_TRUE(queue_.paused());
    script_.at_once = true;
    queue_.retry();
    EXPECT_OK(status(write));
    EXPECT_FALSE(queue_.paused());
}

TEST_F(DiskQueueTest, AFlushThatFindsNoRoomForItsHolesWaitsToo) {
    struct FullHost final : TopIo {
        Status punch(int fd, uint64_t offset, uint64_t length) override {
            if (full) return os_error("punch", ENOSPC);
            return TopIo::punch(fd, offset, length);
        }
        bool full = true;
    } host;
    DiskFiles parts = files();
    std::optional<MergedIndex> index = value_of(MergedIndex::open(parts.index, "test"));
    std::optional<WritableTop> top =
        value_of(WritableTop::open(std::move(parts.top_data), std::move(parts.top_meta), &host));
    queue_.use(nullptr);
    disk_ =
        value_of(LayeredDisk::assemble(std::move(index), std::move(parts.layers), std::move(top)));
    queue_.use(disk_.get());
    submit(Kind::kDiscard, 2, 1);
    const Request& flush = submit(Kind::kFlush);
    EXPECT_FALSE(ended(flush));
    EXPECT_TRUE(queue_.paused());
    loop_.second_passes();
    EXPECT_FALSE(ended(flush));
    host.full = false;
    loop_.second_passes();
    ASSERT_TRUE(ended(flush));
    EXPECT_OK(status(flush));
    EXPECT_FALSE(queue_.paused());
    EXPECT_EQ(stamp_at(2), 0U);
    EXPECT_OK(disk_->close());
    queue_.use(nullptr);
    disk_.reset();  // before its host
}

TEST_F(DiskQueueTest, TheQuotaIsAnErrorAtOnceAndNoPause) {
    DiskFiles small = files();
    small.max_top_bytes = 8 * 4096;
    queue_.use(nullptr);
    disk_ = value_of(LayeredDisk::open(std::move(small)));
    queue_.use(disk_.get());
    // All of it under way at once: the map doesn't have it yet.
    for (uint64_t lba = 0; lba < 8; ++lba) submit(Kind::kWrite, lba, 1, 7);
    EXPECT_EQ(under_way(), 8U);
    const Request& ninth = submit(Kind::kWrite, 8, 1, 7);
    ASSERT_TRUE(ended(ninth));
    EXPECT_EQ(status(ninth).error().os_errno, EDQUOT);
    EXPECT_FALSE(queue_.paused());
    for (int i = 0; i < 8; ++i) finish(0);
    script_.at_once = true;
    EXPECT_OK(status(submit(Kind::kWrite, 3, 1, 9)));  // what is there may be written again
    EXPECT_FALSE(status(submit(Kind::kWrite, 8, 1, 9)));
}

TEST_F(DiskQueueTest, CancelGivesEverythingBackAndWaitsForWhatIsUnderWay) {
    const Request& running = submit(Kind::kWrite, 2, 1, 7);
    const Request& waiting = submit(Kind::kRead, 2);
    const Request& behind = submit(Kind::kRead, 0);
    queue_.cancel();
    EXPECT_TRUE(queue_.idle());
    EXPECT_TRUE(ended(behind));
    EXPECT_OK(status(running));  // it ended while we waited
    EXPECT_FAILS(status(waiting), kConflict, "cancelled");
    EXPECT_EQ(stamp_at(2), 7U);
    script_.next_results = {ENOSPC};
    submit(Kind::kWrite, 4, 1, 7);
    EXPECT_TRUE(queue_.paused());
    queue_.cancel();
    EXPECT_FALSE(queue_.paused());
    EXPECT_EQ(stamp_at(4), kParentStamp + 4);
    EXPECT_TRUE(queue_.accepts());
}

TEST_F(DiskQueueTest, AFullQueueAcceptsNoMore) {
    for (uint64_t i = 0; i < DiskQueue::kDepth; ++i) {
        EXPECT_TRUE(queue_.accepts());
        submit(Kind::kRead, 2 * (i % 64));
    }
    EXPECT_FALSE(queue_.accepts());
    EXPECT_EQ(under_way(), DiskQueue::kDepth);
    finish(5);
    EXPECT_TRUE(queue_.accepts());
}

/// Operations end in an order that a seed chooses, some fail with ENOSPC, some are short; what the
/// disk reads as in the end is what the requests' order says.
TEST_F(DiskQueueTest, NoOrderOfEndsChangesWhatTheDiskReadsAs) {
    for (uint64_t seed = 1; seed <= 40; ++seed) {
        SCOPED_TRACE("seed " + std::to_string(seed));
        std::mt19937_64 random(seed);
        std::vector<uint64_t> expected(kBlocks);
        for (uint64_t lba = 0; lba < kBlocks; ++lba) expected[lba] = stamp_at(lba);
        script_.most_bytes = random() % 2 == 0 ? SIZE_MAX : 1500;
        std::vector<std::pair<const Request*, uint64_t>> reads;
        for (uint64_t step = 0; step < 120; ++step) {
            const uint64_t lba = random() % 16;
            const uint64_t action = random() % 10;
            const uint64_t stamp = seed * 1000 + step + 1;
            if (!queue_.accepts() || action >= 9) {
                // Something ends, anything.
                while (under_way() > 0 && (random() % 3 != 0 || !queue_.accepts()))
                    finish(random() % under_way(), random() % 20 == 0 ? EINTR : 0);
            }
            if (!queue_.accepts()) continue;
            if (action < 4) {
                submit(Kind::kWrite, lba, 1, stamp);
                expected[lba] = stamp;
            } else if (action < 7) {
                reads.emplace_back(&submit(Kind::kRead, lba, 1), expected[lba]);
            } else if (action == 7) {
                submit(Kind::kDiscard, lba, 1);
                expected[lba] = 0;
            } else {
                submit(Kind::kFlush);
            }
        }
        while (under_way() > 0) finish(random() % under_way());
        ASSERT_TRUE(queue_.idle());
        for (const auto& [read, stamp] : reads) {
            ASSERT_OK(status(*read));
            ASSERT_EQ(read->stamp(), stamp);
        }
        for (uint64_t lba = 0; lba < kBlocks; ++lba)
            ASSERT_EQ(stamp_at(lba), expected[lba]) << "block " << lba;
        requests_.clear();
        statuses_.clear();
        ended_.clear();
    }
}

/// A real ring, many requests, on a file that isn't cached; the loop brings the ends.
TEST(RingIo, ColdReadsAndWritesEndThroughTheLoop) {
    struct Counter final : DiskQueue::Client {
        void done(DiskRequest&, const Status& status) override {
            EXPECT_OK(status);
            ++ended;
        }
        void progressed() override {
            if (ended >= 64) loop->stop();
        }
        int ended = 0;
        EventLoop* loop = nullptr;
    } counter;
    const test::TempDir folder(true);
    Fd file = value_of(open_file(folder.file("disk"), O_RDWR | O_CREAT, 0600));
    const std::vector<std::byte> bytes(8 << 20, std::byte{5});
    ASSERT_OK(write_exact(file.get(), bytes, 0));
    ASSERT_EQ(::fsync(file.get()), 0);
    ASSERT_EQ(::posix_fadvise(file.get(), 0, 0, POSIX_FADV_DONTNEED), 0);
    const auto disk = value_of(open_raw_disk(std::move(file), false));
    const auto loop = make_event_loop();
    counter.loop = loop.get();
    DiskQueue queue({"blk0", loop.get(), ring()}, counter);
    queue.use(disk.get());
    std::deque<Request> requests;
    for (uint64_t i = 0; i < 64; ++i) {
        const auto kind = i % 4 == 3 ? DiskRequest::Kind::kWrite : DiskRequest::Kind::kRead;
        requests.emplace_back(i == 63 ? DiskRequest::Kind::kFlush : kind, i * 31, 1, 9);
        queue.submit(requests.back());
    }
    queue.run();
    if (counter.ended < 64) loop->run();
    EXPECT_EQ(counter.ended, 64);
    EXPECT_EQ(std::to_integer<int>(requests[4].buffer[77]), 5);
    EXPECT_TRUE(queue.idle());
}

}  // namespace
}  // namespace drupe::imagefs
