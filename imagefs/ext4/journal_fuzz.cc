// A journal of anybody's making on a small file system of ours: replaying it ends in a Result, and
// writes nothing outside of the disk.

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <memory>
#include <vector>

#include "base/check.h"
#include "imagefs/ext4/format.h"
#include "imagefs/ext4/journal.h"
#include "imagefs/ext4/journal_inode.h"

using namespace drupe::imagefs::ext4;

namespace {

constexpr uint64_t kBlocks = 1 << 15;

/// The blocks that a formatted file system has, made once.
struct Base {
    std::unique_ptr<BlockDevice> device = make_memory_device(kBlocks, 16384);
    std::vector<uint64_t> journal;

    Base() {
        DRUPE_CHECK(format_layer0(*device).has_value());
        mark();
        journal = find_journal(*device).value().journal;
    }
    void mark() const {
        Block block{};
        DRUPE_CHECK(device->read_blocks(0, block).has_value());
        block[1024 + 0x60] |= std::byte{4};  // EXT4_FEATURE_INCOMPAT_RECOVER
        DRUPE_CHECK(device->write_blocks(0, block).has_value());
    }
};

}  // namespace

// Input: a byte that says where a patch of 16 bytes goes (superblock, group descriptor, journal
// inode or log), its position, the patch; the rest is the log from its superblock on.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    constexpr size_t kPatch = 16;
    if (size < 4 + kPatch) return 0;
    const Base base;
    const size_t target = data[0] % 4;
    const size_t position = (data[1] | data[2] << 8) % (4096 - kPatch);
    const uint8_t* const log = data + 4 + kPatch;
    const size_t log_bytes = size - 4 - kPatch;
    for (size_t at = 0; at < log_bytes && at / 4096 < base.journal.size(); at += 4096) {
        Block block{};
        std::memcpy(block.data(), log + at, std::min<size_t>(4096, log_bytes - at));
        DRUPE_CHECK(base.device->write_blocks(base.journal[at / 4096], block).has_value());
    }
    if (target < 3) {
        Block block{};
        DRUPE_CHECK(base.device->read_blocks(target, block).has_value());
        std::memcpy(block.data() + position, data + 4, kPatch);
        DRUPE_CHECK(base.device->write_blocks(target, block).has_value());
    }
    (void)replay_journal(*base.device);
    return 0;
}
