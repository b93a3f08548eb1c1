#include "imagefs/ext4/format.h"

#include <ext2fs/ext2fs.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <string_view>
#include <vector>

#include "imagefs/ext4/test_image.h"
#include "imagefs/store/sha256.h"

namespace drupe::imagefs::ext4 {
namespace {

TEST(Layer0, IsCleanAndSmallThoughItsDiskIsLarge) {
    const TestImage image(kVirtualBlocks);
    EXPECT_EQ(image.problems(), "");
    EXPECT_LT(image.allocated_bytes(), 3'000'000U);
    EXPECT_GT(image.allocated_bytes(), 100'000U);
}

TEST(Layer0, HasAnEmptyRoot) {
    TestImage image(kVirtualBlocks);
    ImageReader reader = image.reader();
    EXPECT_TRUE(reader.list("/").value().empty());
    const auto root = reader.stat("/").value();
    EXPECT_EQ(root.entry.mode, 0755U);
    EXPECT_EQ(root.entry.mtime, kFormatTime);
}

/// Counts blocks, and remembers what was written where.
class RecordingDevice final : public BlockDevice {
  public:
    RecordingDevice() : memory_(make_memory_device(kVirtualBlocks, 100'000)) {}
    uint64_t block_count() const override { return kVirtualBlocks; }
    Status read_blocks(uint64_t lba, std::span<std::byte> out) override {
        return memory_->read_blocks(lba, out);
    }
    Status write_blocks(uint64_t lba, std::span<const std::byte> data) override {
        for (uint64_t i = 0; i < data.size() / kBlockSize; ++i) written_.push_back(lba + i);
        return memory_->write_blocks(lba, data);
    }
    Status zero_blocks(uint64_t lba, uint64_t count) override {
        return memory_->zero_blocks(lba, count);
    }
    std::string content() {
        std::string all;
        std::vector<std::byte> block(kBlockSize);
        std::sort(written_.begin(), written_.end());
        for (const uint64_t lba : written_) {
            EXPECT_TRUE(memory_->read_blocks(lba, block));
            all += std::to_string(lba);
            all.append(reinterpret_cast<const char*>(block.data()), block.size());
        }
        return all;
    }

  private:
    std::unique_ptr<BlockDevice> memory_;
    std::vector<uint64_t> written_;
};

TEST(Layer0, IsTheSameBytesEverywhereAndAlways) {
    // Whatever changes this value changes every layer that is stored anywhere: kFormatterName then
    // needs a new version.
    // (No CRC: ext4's blocks end with theirs, and a CRC of both doesn't see what changed.)
    constexpr std::string_view kGolden =
        "882e998511076fdff3a15057d1e91e87e376a5896eac36c24539a78cd92e9b9c";
    RecordingDevice device;
    ASSERT_TRUE(format_layer0(device));
    EXPECT_EQ(sha256(device.content()).hex(), kGolden);
}

TEST(Layer0, KnowsItsOverheadAsLinuxCountsIt) {
    constexpr size_t kSuperOffset = 1024;
    RecordingDevice device;
    ASSERT_TRUE(format_layer0(device));
    std::vector<std::byte> block(BlockDevice::kBlockSize);
    ASSERT_TRUE(device.read_blocks(0, block));
    ext2_super_block super{};
    std::memcpy(&super, block.data() + kSuperOffset, sizeof super);
    EXPECT_EQ(super.s_overhead_clusters, 273037U);  // what Linux 6.12 wrote where it was 0
}

}  // namespace
}  // namespace drupe::imagefs::ext4
