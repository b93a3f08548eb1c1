#include "imagefs/ext4/journal.h"

#include <ext2fs/ext2fs.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <string>

#include "imagefs/ext4/journal_inode.h"
#include "imagefs/ext4/test_image.h"

namespace drupe::imagefs::ext4 {
namespace {

constexpr uint64_t kBlocks = 32768;  // 128 MiB
constexpr uint64_t kFree = 30000;    // nothing of the file system is there
constexpr size_t kLogMagic = 0x98393BC0;

Block block_of(char c) {
    Block block;
    block.fill(static_cast<std::byte>(c));
    return block;
}

Block read(BlockDevice& device, uint64_t lba) {
    Block block{};
    EXPECT_TRUE(device.read_blocks(lba, block));
    return block;
}

/// Writes transactions into an image's journal by e2fsprogs's debugfs, which needn't mount it.
class JournalTest : public ::testing::TestWithParam<const char*> {
  protected:
    void file(const std::string& name, const Block& content) {
        std::ofstream out(dir_ + "/" + name, std::ios::binary);
        out.write(reinterpret_cast<const char*>(content.data()), content.size());
    }
    void debugfs(const std::string& commands) {
        std::ofstream(dir_ + "/commands") << "jo " << GetParam() << "\n" << commands << "jc\n";
        const std::string line = "cd " + dir_ + " && PATH=$PATH:/sbin:/usr/sbin debugfs -w -f " +
                                 "commands " + image_.path() + " > log 2>&1";
        ASSERT_EQ(std::system(line.c_str()), 0);
    }
    void SetUp() override {
        char pattern[] = "/tmp/drupe-journal-XXXXXX";
        ASSERT_NE(::mkdtemp(pattern), nullptr);
        dir_ = pattern;
        file("a", block_of('a'));
        file("b", block_of('b'));
        Block escaped = block_of('c');
        std::memcpy(escaped.data(), &kLogMagic, 4);  // must not pass for a block of the log
        file("c", escaped);
    }
    void TearDown() override { std::filesystem::remove_all(dir_); }

    TestImage image_{kBlocks};
    std::string dir_;
};

TEST_P(JournalTest, CommittedTransactionsAreWrittenInOrderAndRevokedOnesArent) {
    debugfs(
        "jw -b 30000 a\njw -b 30001 a\njw -b 30002 a\njw -b 30000 b\njw -r 30001\n"
        "jw -b 30003 c\njw -r 30004\njw -b 30004 b\n");
    ASSERT_TRUE(find_journal(image_.device()).value().needs_replay);
    ASSERT_NE(read(image_.device(), kFree), block_of('b')) << "debugfs wrote into the journal only";
    const Status replayed = replay_journal(image_.device());
    ASSERT_TRUE(replayed) << replayed.error().message;
    EXPECT_EQ(read(image_.device(), kFree), block_of('b'));
    EXPECT_EQ(read(image_.device(), kFree + 1), Block{});
    EXPECT_EQ(read(image_.device(), kFree + 2), block_of('a'));
    EXPECT_EQ(std::memcmp(read(image_.device(), kFree + 3).data(), &kLogMagic, 4), 0);
    EXPECT_EQ(read(image_.device(), kFree + 4), block_of('b')) << "revoked before it was written";
    EXPECT_FALSE(find_journal(image_.device()).value().needs_replay);
    EXPECT_EQ(image_.problems(), "");
    // Nothing is left to be replayed.
    ASSERT_TRUE(image_.device().write_blocks(kFree, block_of('z')));
    ASSERT_TRUE(replay_journal(image_.device()));
    EXPECT_EQ(read(image_.device(), kFree), block_of('z'));
}

TEST_P(JournalTest, ATransactionWithoutItsCommitNeverHappened) {
    debugfs("jw -b 30000 a\njw -c -b 30001 b\n");  // -c: no commit block
    ASSERT_TRUE(replay_journal(image_.device()));
    EXPECT_EQ(read(image_.device(), kFree), block_of('a'));
    EXPECT_EQ(read(image_.device(), kFree + 1), Block{});
    EXPECT_EQ(image_.problems(), "");
}

TEST_P(JournalTest, ABlockOutsideTheDiskIsRefused) {
    debugfs("jw -b 30000 a\n");
    const std::vector<uint64_t> log = find_journal(image_.device()).value().journal;
    Block descriptor = read(image_.device(), log[1]);
    descriptor[12] = std::byte{0x7F};  // of the first tag's block number
    ASSERT_TRUE(image_.device().write_blocks(log[1], descriptor));
    const Status replayed = replay_journal(image_.device());
    // With checksums the descriptor is no longer one, so the log ends before it.
    if (std::string_view(GetParam()).empty()) {
        ASSERT_FALSE(replayed);
        EXPECT_THAT(replayed.error().message, ::testing::HasSubstr("of a file system of 32768"));
    } else {
        EXPECT_TRUE(replayed);
    }
    EXPECT_EQ(read(image_.device(), kFree), Block{});
}

TEST_P(JournalTest, ADamagedDataBlockIsFoundWhereThereAreChecksums) {
    debugfs("jw -b 30000 a\n");
    const std::vector<uint64_t> log = find_journal(image_.device()).value().journal;
    ASSERT_TRUE(image_.device().write_blocks(log[2], block_of('x')));
    const Status replayed = replay_journal(image_.device());
    if (std::string_view(GetParam()).empty()) {
        EXPECT_TRUE(replayed);
    } else {
        ASSERT_FALSE(replayed);
        EXPECT_THAT(replayed.error().message, ::testing::HasSubstr("checksum of block 30000"));
    }
}

INSTANTIATE_TEST_SUITE_P(Checksums, JournalTest, ::testing::Values("", "-c -v 2", "-c -v 3"));

TEST(Journal, ImpossibleSuperblocksAreRefused) {
    TestImage image(kBlocks);
    const Block good = read(image.device(), 0);
    const auto refused = [&](size_t at, uint8_t value) {
        Block block = good;
        block[1024 + 0x60] |= std::byte{4};  // needs recovery
        block[1024 + at] = std::byte{value};
        EXPECT_TRUE(image.device().write_blocks(0, block));
        const Status replayed = replay_journal(image.device());
        return replayed ? std::string("nothing") : replayed.error().message;
    };
    EXPECT_THAT(refused(0x38, 1), ::testing::HasSubstr("no superblock"));
    EXPECT_THAT(refused(0x18, 0), ::testing::HasSubstr("blocks of 2^0 KiB"));
    EXPECT_THAT(refused(0x61, 0x80), ::testing::HasSubstr("incompat features"));
    EXPECT_THAT(refused(0xE0, 9), ::testing::HasSubstr("journal in inode 9"));
    EXPECT_THAT(refused(0x58, 3), ::testing::HasSubstr("inodes of"));
    EXPECT_THAT(refused(0x07, 1), ::testing::HasSubstr("on a disk of 32768"));
}

}  // namespace
}  // namespace drupe::imagefs::ext4
