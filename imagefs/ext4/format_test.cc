#include "imagefs/ext4/format.h"

#include <ext2fs/ext2fs.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "imagefs/ext4/test_image.h"

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
    constexpr uint32_t kGolden = 2905571270;
    RecordingDevice device;
    ASSERT_TRUE(format_layer0(device));
    const std::string content = device.content();
    EXPECT_EQ(kGolden, ext2fs_crc32c_le(~0U, reinterpret_cast<const unsigned char*>(content.data()),
                                        content.size()));
}

}  // namespace
}  // namespace drupe::imagefs::ext4
