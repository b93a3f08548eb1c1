#include "api/engine/confined_disk.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/fd.h"
#include "imagefs/store/fake_disk.h"

namespace drupe::engine {
namespace {

using imagefs::ext4::BlockDevice;
using imagefs::test::FakeDisk;
using ::testing::HasSubstr;

constexpr uint64_t kBlocks = 1024;
constexpr size_t kBlock = BlockDevice::kBlockSize;

std::vector<std::byte> filled(size_t blocks, int with) {
    return std::vector<std::byte>(blocks * kBlock, static_cast<std::byte>(with));
}

TEST(ConfinedDisk, WorkReadsAndWritesTheDiskAndItsResultComesBack) {
    FakeDisk disk(filled(kBlocks, 0));
    const Status done = with_confined_disk(disk, [](BlockDevice& device) -> Status {
        if (device.block_count() != kBlocks) return Error{ErrorCode::kInternal, "another disk"};
        // More than one request takes.
        TRY(device.write_blocks(3, filled(600, 7)));
        TRY(device.zero_blocks(5, 2));
        std::vector<std::byte> read(600 * kBlock);
        TRY(device.read_blocks(3, read));
        auto expected = filled(600, 7);
        std::fill_n(expected.begin() + 2 * kBlock, 2 * kBlock, std::byte{0});
        if (read != expected) return Error{ErrorCode::kInternal, "other bytes"};
        return ok();
    });
    EXPECT_TRUE(done) << done.error().message;
    std::vector<std::byte> there(kBlock);
    const iovec v{there.data(), there.size()};
    ASSERT_TRUE(disk.read(3 * kBlock, {&v, 1}));
    EXPECT_EQ(there, filled(1, 7));
    EXPECT_TRUE(with_confined_disk(disk, [](BlockDevice&) { return ok(); }));
}

TEST(ConfinedDisk, AnErrorOfTheWorkKeepsItsCodeAndText) {
    FakeDisk disk(filled(kBlocks, 0));
    const Status done = with_confined_disk(disk, [](BlockDevice&) -> Status {
        return Error{ErrorCode::kUnsupported, "such a file system"};
    });
    ASSERT_FALSE(done);
    EXPECT_EQ(done.error().code, ErrorCode::kUnsupported);
    EXPECT_EQ(done.error().message, "such a file system");
}

TEST(ConfinedDisk, ABlockThatIsNotThereIsRefused) {
    FakeDisk disk(filled(kBlocks, 0));
    for (const uint64_t lba : {kBlocks, UINT64_MAX, UINT64_MAX - 1}) {
        const Status done = with_confined_disk(
            disk, [lba](BlockDevice& device) { return device.write_blocks(lba, filled(2, 1)); });
        ASSERT_FALSE(done);
        EXPECT_THAT(done.error().message, HasSubstr("asked for 2 blocks at"));
    }
}

TEST(ConfinedDisk, WorkThatTriesAnythingElseIsEndedAndReported) {
    FakeDisk disk(filled(kBlocks, 0));
    const Status done = with_confined_disk(disk, [](BlockDevice&) -> Status {
        (void)::socket(AF_UNIX, SOCK_STREAM, 0);
        return ok();
    });
    ASSERT_FALSE(done);
    EXPECT_EQ(done.error().code, ErrorCode::kIo);
    EXPECT_THAT(done.error().message, HasSubstr("signal 31"));  // SIGSYS
}

TEST(ConfinedDisk, NothingButItsTwoPipesIsOpenInIt) {
    FakeDisk disk(filled(kBlocks, 0));
    const FdPair pipe = make_pipe().value();
    const Fd held(::fcntl(pipe.second.get(), F_DUPFD_CLOEXEC, 20));
    for (const int fd : {0, 1, held.get()}) {
        EXPECT_TRUE(with_confined_disk(disk, [fd](BlockDevice&) -> Status {
            if (::lseek(fd, 0, SEEK_CUR) >= 0 || errno != EBADF) {
                return Error{ErrorCode::kInternal, "is open"};
            }
            return ok();
        })) << fd;
    }
}

TEST(ConfinedDisk, NonsenseFromItIsAnError) {
    FakeDisk disk(filled(kBlocks, 0));
    for (const char* nonsense :
         {"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", "short"}) {
        const Status done = with_confined_disk(disk, [nonsense](BlockDevice&) -> Status {
            (void)!::write(3, nonsense, std::strlen(nonsense));
            ::_exit(0);
        });
        ASSERT_FALSE(done);
        EXPECT_EQ(done.error().code, ErrorCode::kIo);
    }
}

}  // namespace
}  // namespace drupe::engine
