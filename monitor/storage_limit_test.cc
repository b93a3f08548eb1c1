#include "monitor/storage_limit.h"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

namespace drupe {
namespace {

using imagefs::LayeredDisk;
using imagefs::WritableTop;

TEST(StorageLimit, AnImageThatCantBeMeasuredIsAnErrorThatSaysSo) {
    Fd data(::memfd_create("top", MFD_CLOEXEC));
    ASSERT_EQ(::ftruncate(data.get(), 1 << 20), 0);
    auto top = WritableTop::scratch(std::move(data), (1 << 20) / 4096);
    ASSERT_TRUE(top);
    const auto disk = LayeredDisk::assemble(std::nullopt, {}, std::move(top).value());
    ASSERT_TRUE(disk);

    const auto reserved = bytes_to_reserve(*disk.value(), 1 << 20);

    ASSERT_FALSE(reserved);
    EXPECT_EQ(reserved.error().message,
              "limit the storage: the disk's file system: this is no ext4");
}

}  // namespace
}  // namespace drupe
