#include "imagefs/store/writable_top.h"

#include <sys/stat.h>

#include <algorithm>
#include <map>
#include <random>
#include <set>

#include "imagefs/store/block_io.h"
#include "imagefs/store/test_support.h"

namespace drupe::imagefs {
namespace {

using test::content_of;
using test::make_layer;
using test::read_stamp;
using test::TempDir;
using test::value_of;
using test::write_stamp;

constexpr uint64_t kBlocks = 64;
constexpr uint64_t kParentStamp = 1'000'000;  // block i of the parent: kParentStamp + i

/// The parent has data in every other pair of blocks.
bool parent_has(uint64_t lba) {
    return lba / 2 % 2 == 0;
}

std::vector<LayerFile> parent() {
    std::vector<test::LayerBlock> blocks;
    for (uint64_t lba = 0; lba < kBlocks; ++lba) {
        if (parent_has(lba)) blocks.push_back({lba, kParentStamp + lba});
    }
    std::vector<LayerFile> layers;
    layers.push_back(make_layer(1, kBlocks, blocks));
    return layers;
}

/// A host whose power can fail: it knows of each file what was synced, and a crash leaves of
/// everything else, block by block (sector by sector in the meta file), either state.
class CrashingHost : public TopIo {
  public:
    CrashingHost() {
        EXPECT_OK(WritableTop::format(open("data").get(), open("meta").get(), kBlocks,
                                      test::digest_number(1)));
        durable_data_ = data_now();
        durable_meta_ = content_of(open("meta").get());
    }

    [[nodiscard]] Fd open(const std::string& name) const {
        return value_of(open_file(dir_.file(name), O_RDWR | O_CREAT, 0600));
    }

    Status sync(int fd) override {
        struct stat file {};
        struct stat data {};
        EXPECT_EQ(::fstat(fd, &file), 0);
        EXPECT_EQ(::stat(dir_.file("data").c_str(), &data), 0);
        if (fails_ > 0 && --fails_ == 0) return os_error("sync", EIO);
        if (file.st_ino == data.st_ino) {
            durable_data_ = data_now();
        } else {
            durable_meta_ = content_of(fd);
        }
        return ok();
    }

    /// The n-th sync from now on fails (1 is the next one).
    void fail_sync(int n) { fails_ = n; }

    /// As if nothing of format() had reached the disk yet.
    void forget_format() { durable_meta_.assign(durable_meta_.size(), '\0'); }

    void crash(std::mt19937_64& random) { crash(random, random() % 101); }
    void crash(std::mt19937_64& random, uint64_t keep_percent) {
        const auto keep = [&] { return random() % 100 < keep_percent; };
        std::map<uint64_t, test::Block> now = data_now();
        std::map<uint64_t, test::Block> after;
        for (uint64_t lba = 0; lba < kBlocks; ++lba) {
            const auto& source = keep() ? now : durable_data_;
            if (source.contains(lba)) after[lba] = source.at(lba);
        }
        const Fd data = open("data");  // its inode stays
        EXPECT_EQ(::ftruncate(data.get(), 0), 0);
        EXPECT_EQ(::ftruncate(data.get(), kBlocks * 4096), 0);
        for (const auto& [lba, block] : after) {
            EXPECT_OK(write_exact(data.get(), block, lba * 4096));
        }
        const Fd meta = open("meta");
        std::string meta_now = content_of(meta.get());
        durable_meta_.resize(meta_now.size());
        for (size_t at = 0; at < meta_now.size(); at += 512) {
            if (!keep()) meta_now.replace(at, 512, durable_meta_, at, 512);
        }
        EXPECT_OK(write_exact(meta.get(), std::as_bytes(std::span(meta_now)), 0));
        durable_data_ = data_now();
        durable_meta_ = meta_now;
    }

    std::unique_ptr<LayeredDisk> start() {
        DiskFiles files = test::files_of(parent_);
        std::optional<MergedIndex> index = value_of(MergedIndex::open(files.index, "test"));
        std::optional<WritableTop> top =
            value_of(WritableTop::open(open("data"), open("meta"), this));
        return value_of(
            LayeredDisk::assemble(std::move(index), std::move(files.layers), std::move(top)));
    }

  private:
    std::map<uint64_t, test::Block> data_now() const {
        const Fd fd = open("data");
        std::map<uint64_t, test::Block> blocks;
        for (uint64_t lba = 0; lba < kBlocks; ++lba) {
            const auto at = static_cast<off_t>(lba * 4096);
            if (::lseek(fd.get(), at, SEEK_DATA) != at) continue;
            EXPECT_OK(read_exact(fd.get(), blocks[lba], lba * 4096));
        }
        return blocks;
    }

    TempDir dir_;
    std::vector<LayerFile> parent_ = parent();
    std::map<uint64_t, test::Block> durable_data_;
    std::string durable_meta_;
    int fails_ = 0;
};

/// What each block may read as: its value at the last flush, or any since.
class Expectations {
  public:
    Expectations() {
        for (uint64_t lba = 0; lba < kBlocks; ++lba) {
            allowed_.push_back({parent_has(lba) ? kParentStamp + lba : 0});
            latest_.push_back(*allowed_.back().begin());
        }
    }
    void wrote(uint64_t lba, uint64_t stamp) {
        allowed_[lba].insert(stamp);
        latest_[lba] = stamp;
    }
    void flushed() {
        for (uint64_t lba = 0; lba < kBlocks; ++lba) allowed_[lba] = {latest_[lba]};
    }
    void check_running(BlockBackend& disk) const {
        for (uint64_t lba = 0; lba < kBlocks; ++lba) {
            ASSERT_EQ(read_stamp(disk, lba), latest_[lba]) << "block " << lba;
        }
    }
    void check_recovered(BlockBackend& disk) {
        for (uint64_t lba = 0; lba < kBlocks; ++lba) {
            const std::optional<uint64_t> stamp = read_stamp(disk, lba);
            ASSERT_TRUE(stamp) << "block " << lba << " is torn";
            ASSERT_TRUE(allowed_[lba].contains(*stamp))
                << "block " << lba << " reads as " << *stamp << ", its last flushed value is "
                << *allowed_[lba].begin();
            latest_[lba] = *stamp;
        }
        flushed();  // recovery makes what it found durable
    }

  private:
    std::vector<std::set<uint64_t>> allowed_;
    std::vector<uint64_t> latest_;
};

void random_work(BlockBackend& disk, Expectations& expected, std::mt19937_64& random,
                 uint64_t& next_stamp) {
    const uint64_t steps = random() % 60;
    for (uint64_t step = 0; step < steps; ++step) {
        const uint64_t lba = random() % kBlocks;
        const uint64_t blocks = 1 + random() % std::min<uint64_t>(6, kBlocks - lba);
        const uint64_t action = random() % 10;
        if (action < 5) {
            const uint64_t stamp = random() % 6 == 0 ? 0 : next_stamp++;
            ASSERT_OK(write_stamp(disk, lba, stamp));
            expected.wrote(lba, stamp);
        } else if (action < 9) {
            ASSERT_OK(disk.write_zeroes(lba * 4096, blocks * 4096, true));
            for (uint64_t i = 0; i < blocks; ++i) expected.wrote(lba + i, 0);
        } else {
            ASSERT_OK(disk.flush());
            expected.flushed();
        }
    }
    ASSERT_NO_FATAL_FAILURE(expected.check_running(disk));
}

TEST(WritableTop, NoCrashBringsBackWhatWasFlushedAway) {
    for (uint64_t seed = 1; seed <= 60; ++seed) {
        SCOPED_TRACE("seed " + std::to_string(seed));
        std::mt19937_64 random(seed);
        CrashingHost host;
        Expectations expected;
        uint64_t next_stamp = 1;
        for (int life = 0; life < 8; ++life) {
            SCOPED_TRACE("life " + std::to_string(life));
            const auto disk = host.start();
            ASSERT_NO_FATAL_FAILURE(expected.check_recovered(*disk));
            ASSERT_NO_FATAL_FAILURE(random_work(*disk, expected, random, next_stamp));
            switch (random() % 3) {
                case 0:
                    ASSERT_OK(disk->close());
                    expected.flushed();
                    break;
                case 1:
                    host.crash(random);
                    break;
                default:  // the process dies, the host goes on
                    break;
            }
        }
    }
}

TEST(WritableTop, ACrashInTheMiddleOfAFlushLosesNothing) {
    for (uint64_t seed = 1; seed <= 60; ++seed) {
        SCOPED_TRACE("seed " + std::to_string(seed));
        std::mt19937_64 random(seed);
        CrashingHost host;
        Expectations expected;
        uint64_t next_stamp = 1;
        for (int life = 0; life < 4; ++life) {
            const auto disk = host.start();
            ASSERT_NO_FATAL_FAILURE(expected.check_recovered(*disk));
            ASSERT_NO_FATAL_FAILURE(random_work(*disk, expected, random, next_stamp));
            host.fail_sync(1 + static_cast<int>(random() % 3));
            const Status closed = disk->close();
            host.fail_sync(0);
            if (closed) expected.flushed();
            host.crash(random);
        }
    }
}

TEST(WritableTop, ACleanStopSavesTheMap) {
    CrashingHost host;
    {
        const auto disk = host.start();
        EXPECT_TRUE(disk->top()->was_clean());
        ASSERT_OK(write_stamp(*disk, 1, 5));
        ASSERT_OK(disk->discard(0, 4096));
        ASSERT_OK(disk->close());
    }
    const auto disk = host.start();
    EXPECT_TRUE(disk->top()->was_clean());
    EXPECT_EQ(disk->top()->map().count(BlockState::kData), 1U);
    EXPECT_EQ(disk->top()->map().count(BlockState::kZero), 1U);
    EXPECT_EQ(read_stamp(*disk, 0), 0U);
    EXPECT_EQ(read_stamp(*disk, 1), 5U);
}

TEST(WritableTop, WithoutACleanStopItIsSearched) {
    CrashingHost host;
    {
        const auto disk = host.start();
        ASSERT_OK(write_stamp(*disk, 1, 5));
        ASSERT_OK(write_stamp(*disk, 8, 0));
        ASSERT_OK(disk->discard(4 * 4096, 4096));
        ASSERT_OK(disk->flush());
    }
    const auto disk = host.start();
    EXPECT_FALSE(disk->top()->was_clean());
    EXPECT_EQ(read_stamp(*disk, 1), 5U);
    EXPECT_EQ(read_stamp(*disk, 4), 0U);
    EXPECT_EQ(read_stamp(*disk, 8), 0U);
}

TEST(WritableTop, TheFirstFlushMakesANewTopDurable) {
    CrashingHost host;
    host.forget_format();
    std::mt19937_64 random(1);
    {
        const auto disk = host.start();
        ASSERT_OK(write_stamp(*disk, 1, 5));
        ASSERT_OK(disk->flush());
        host.crash(random, 0);
    }
    const auto disk = host.start();
    EXPECT_EQ(read_stamp(*disk, 1), 5U);
}

TEST(WritableTop, AFailedSyncIsSticky) {
    CrashingHost host;
    const auto disk = host.start();
    ASSERT_OK(disk->flush());
    ASSERT_OK(write_stamp(*disk, 1, 5));
    host.fail_sync(1);
    EXPECT_FAILS(disk->flush(), kIo, "sync");
    EXPECT_FAILS(disk->flush(), kIo, "sync");
    EXPECT_FAILS(disk->close(), kIo, "sync");
}

TEST(WritableTop, AVolatileOneWaitsForNoDiskAndKeepsWhatItDoes) {
    CrashingHost host;
    {
        WritableTop top = value_of(WritableTop::open(host.open("data"), host.open("meta"), &host));
        top.make_volatile();
        host.fail_sync(1);
        const auto disk = value_of(LayeredDisk::assemble(std::nullopt, {}, std::move(top)));
        ASSERT_OK(write_stamp(*disk, 1, 5));
        ASSERT_OK(disk->discard(4 * 4096, 4096));
        EXPECT_LT(disk->direct()->flush_fd(), 0) << "its queue would sync it by itself";
        EXPECT_OK(disk->flush());
        EXPECT_OK(disk->close());
    }
    const WritableTop top =
        value_of(WritableTop::open_to_read(host.open("data"), host.open("meta")));
    EXPECT_TRUE(top.was_clean());
    EXPECT_EQ(top.map().count(BlockState::kData), 1U);
}

TEST(WritableTop, ManySmallDiscardsStayBounded) {
    CrashingHost host;
    struct stat st {};
    {
        const auto disk = host.start();
        for (int round = 0; round < 40000; ++round) {
            const uint64_t lba = static_cast<uint64_t>(round) % kBlocks;
            ASSERT_OK(write_stamp(*disk, lba, 9));
            ASSERT_OK(disk->discard(lba * 4096, 4096));
            if (round % 40 == 0) {
                ASSERT_OK(disk->flush());
            }
        }
        ASSERT_OK(disk->flush());
        ASSERT_EQ(::fstat(host.open("meta").get(), &st), 0);
        EXPECT_LT(st.st_size, 3 << 20);
    }
    const auto disk = host.start();
    for (uint64_t lba = 0; lba < kBlocks; ++lba) EXPECT_EQ(read_stamp(*disk, lba), 0U);
}

TEST(WritableTop, ACopyIsRefused) {
    CrashingHost host;
    Fd copy = test::memory_file(content_of(host.open("data").get()));
    EXPECT_FAILS(WritableTop::open(std::move(copy), host.open("meta")), kConflict, "copied");
}

TEST(WritableTop, ADataFileOfAnotherSizeIsRefused) {
    CrashingHost host;
    const Fd data = host.open("data");
    ASSERT_EQ(::ftruncate(data.get(), 4096), 0);
    EXPECT_FAILS(WritableTop::open(host.open("data"), host.open("meta")), kCorrupt,
                 "4096 bytes long instead of");
}

TEST(WritableTop, DamagedMetaFilesAreRefused) {
    CrashingHost host;
    {
        const auto disk = host.start();
        ASSERT_OK(write_stamp(*disk, 1, 5));
        ASSERT_OK(disk->discard(0, 8 * 4096));
        ASSERT_OK(disk->close());
    }
    const std::string good = content_of(host.open("meta").get());
    const auto open_with = [&](const std::string& bytes) {
        return WritableTop::open(host.open("data"), test::memory_file(bytes));
    };
    ASSERT_OK(open_with(good));
    EXPECT_FAILS(open_with(""), kCorrupt, "end of file");
    std::string bad = good;
    bad.replace(0, 8192, std::string(8192, '\0'));
    EXPECT_FAILS(open_with(bad), kCorrupt, "neither superblock");
    // The saved map lies in the second region, behind 1 chunk record and 32768 marks of the first.
    const size_t region = 2 * 4096 + 258 * 4096;
    bad = good;
    bad[region + 16] ^= 1;
    EXPECT_FAILS(open_with(bad), kCorrupt, "saved map is damaged");
}

}  // namespace
}  // namespace drupe::imagefs
