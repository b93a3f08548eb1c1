#pragma once

#include <gtest/gtest.h>

#include <cstring>
#include <functional>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "imagefs/store/block_backend.h"
#include "imagefs/store/fake_disk.h"
#include "imagefs/store/test_support.h"

/// What every BlockBackend must do: instantiate BlockBackendConformance with a maker for each.
namespace drupe::imagefs::test {

struct DiskUnderTest {
    std::unique_ptr<BlockBackend> disk;
    std::vector<std::byte> content;  ///< What it reads as now.
};

struct DiskMaker {
    std::string name;
    std::function<DiskUnderTest()> make;  ///< Writable, at least 64 blocks.
};

class BlockBackendConformance : public ::testing::TestWithParam<DiskMaker> {
  protected:
    void SetUp() override {
        DiskUnderTest made = GetParam().make();
        disk_ = std::move(made.disk);
        model_ = std::make_unique<FakeDisk>(std::move(made.content));
        blocks_ = disk_->size_bytes() / BlockBackend::kBlockSize;
        ASSERT_EQ(disk_->size_bytes(), model_->size_bytes());
        ASSERT_GE(blocks_, 64U);
    }

    static std::vector<std::byte> all_of(BlockBackend& disk) {
        std::vector<std::byte> content(disk.size_bytes(), std::byte{0xEE});
        const iovec v{content.data(), content.size()};
        EXPECT_OK(disk.read(0, {&v, 1}));
        return content;
    }
    void expect_equal_to_model() {
        const std::vector<std::byte> actual = all_of(*disk_);
        const std::vector<std::byte> expected = all_of(*model_);
        for (uint64_t lba = 0; lba < blocks_; ++lba) {
            ASSERT_EQ(std::memcmp(actual.data() + lba * 4096, expected.data() + lba * 4096, 4096),
                      0)
                << "block " << lba;
        }
    }

    std::unique_ptr<BlockBackend> disk_;
    std::unique_ptr<BlockBackend> model_;
    uint64_t blocks_ = 0;
};

/// Cuts a buffer into pieces of odd lengths, some of them empty.
inline std::vector<iovec> scatter(std::vector<std::byte>& buffer, std::mt19937_64& random) {
    std::vector<iovec> pieces;
    size_t at = 0;
    while (at < buffer.size()) {
        const size_t length = std::min<size_t>(buffer.size() - at, random() % 3000);
        pieces.push_back({buffer.data() + at, length});
        at += length;
    }
    return pieces;
}

TEST_P(BlockBackendConformance, StartsWithItsContent) {
    expect_equal_to_model();
}

TEST_P(BlockBackendConformance, ReadsWhatWasWritten) {
    for (BlockBackend* disk : {disk_.get(), model_.get()}) {
        ASSERT_OK(write_stamp(*disk, 0, 1));
        ASSERT_OK(write_stamp(*disk, blocks_ - 1, 2));
        ASSERT_OK(write_stamp(*disk, 7, 3));
    }
    expect_equal_to_model();
}

TEST_P(BlockBackendConformance, RangesOutsideTheDiskAreRefusedAndChangeNothing) {
    const uint64_t size = disk_->size_bytes();
    std::vector<std::byte> two(8192);
    const iovec one_block{two.data(), 4096};
    const iovec two_blocks{two.data(), 8192};
    const iovec odd{two.data(), 4095};
    const iovec huge[2] = {{two.data(), SIZE_MAX}, {two.data(), 4097}};
    for (const uint64_t offset : {size, size + 4096, UINT64_MAX - 4095, uint64_t{1}}) {
        EXPECT_FAILS(disk_->read(offset, {&one_block, 1}), kInvalid, "blocks");
        EXPECT_FAILS(disk_->write(offset, {&one_block, 1}), kInvalid, "blocks");
        EXPECT_FAILS(disk_->write_zeroes(offset, 4096, true), kInvalid, "blocks");
        EXPECT_FAILS(disk_->discard(offset, 4096), kInvalid, "blocks");
    }
    EXPECT_FAILS(disk_->write(size - 4096, {&two_blocks, 1}), kInvalid, "blocks");
    EXPECT_FAILS(disk_->read(size - 4096, {&two_blocks, 1}), kInvalid, "blocks");
    EXPECT_FAILS(disk_->write(0, {&odd, 1}), kInvalid, "blocks");
    EXPECT_FAILS(disk_->write(0, huge), kInvalid, "blocks");
    EXPECT_FAILS(disk_->write_zeroes(4096, UINT64_MAX - 4095, true), kInvalid, "blocks");
    EXPECT_FAILS(disk_->write_zeroes(0, size + 4096, false), kInvalid, "blocks");
    EXPECT_FAILS(disk_->discard(0, 512), kInvalid, "blocks");
    expect_equal_to_model();
}

TEST_P(BlockBackendConformance, EmptyRangesAreNoErrors) {
    EXPECT_OK(disk_->read(0, {}));
    EXPECT_OK(disk_->write(disk_->size_bytes(), {}));
    EXPECT_OK(disk_->write_zeroes(0, 0, true));
    EXPECT_OK(disk_->discard(disk_->size_bytes(), 0));
    expect_equal_to_model();
}

TEST_P(BlockBackendConformance, ZeroedAndDiscardedRangesReadAsZeroes) {
    for (BlockBackend* disk : {disk_.get(), model_.get()}) {
        for (uint64_t lba = 0; lba < 20; ++lba) {
            ASSERT_OK(write_stamp(*disk, lba, 50 + lba));
        }
        ASSERT_OK(disk->write_zeroes(2 * 4096, 3 * 4096, false));
        ASSERT_OK(disk->write_zeroes(6 * 4096, 4096, true));
        ASSERT_OK(disk->discard(10 * 4096, 30 * 4096));
        ASSERT_OK(write_stamp(*disk, 11, 99));
    }
    expect_equal_to_model();
    EXPECT_OK(disk_->flush());
    expect_equal_to_model();
    for (BlockBackend* disk : {disk_.get(), model_.get()}) {
        ASSERT_OK(disk->discard(0, disk->size_bytes()));
    }
    expect_equal_to_model();
}

TEST_P(BlockBackendConformance, BehavesLikeTheModel) {
    for (uint64_t seed = 1; seed <= 8; ++seed) {
        SCOPED_TRACE("seed " + std::to_string(seed));
        std::mt19937_64 random(seed);
        for (int step = 0; step < 150; ++step) {
            const uint64_t lba = random() % blocks_;
            const uint64_t length = 1 + random() % std::min<uint64_t>(blocks_ - lba, 40);
            std::vector<std::byte> buffer(length * 4096);
            const uint64_t action = random() % 10;
            if (action < 5) {
                for (uint64_t i = 0; i < length; ++i) {
                    const Block block = stamped(random() % 4 == 0 ? 0 : random());
                    std::memcpy(buffer.data() + i * 4096, block.data(), 4096);
                }
                const std::vector<iovec> pieces = scatter(buffer, random);
                ASSERT_OK(disk_->write(lba * 4096, pieces));
                ASSERT_OK(model_->write(lba * 4096, pieces));
            } else if (action < 7) {
                const bool unmap = random() % 2 == 0;
                ASSERT_OK(disk_->write_zeroes(lba * 4096, length * 4096, unmap));
                ASSERT_OK(model_->write_zeroes(lba * 4096, length * 4096, unmap));
            } else if (action == 7) {
                ASSERT_OK(disk_->flush());
            } else {
                std::vector<std::byte> expected(buffer.size());
                const iovec whole{expected.data(), expected.size()};
                const std::vector<iovec> pieces = scatter(buffer, random);
                ASSERT_OK(disk_->read(lba * 4096, pieces));
                ASSERT_OK(model_->read(lba * 4096, {&whole, 1}));
                ASSERT_EQ(buffer, expected) << "step " << step;
            }
        }
        expect_equal_to_model();
    }
}

}  // namespace drupe::imagefs::test
