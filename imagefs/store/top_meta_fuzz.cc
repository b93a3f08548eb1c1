#include <cstring>
#include <string>

#include "base/crc32c.h"
#include "imagefs/store/layer_format.h"
#include "imagefs/store/test_files.h"
#include "imagefs/store/top_log.h"

namespace {

using namespace drupe::imagefs;

/// Puts the CRC of a record of `length` bytes right.
void fix_record(std::string& content, size_t at, size_t length) {
    if (at + length > content.size()) return;
    const uint32_t crc =
        drupe::crc32c(std::as_bytes(std::span(content).subspan(at + 4, length - 4)));
    std::memcpy(content.data() + at, &crc, sizeof crc);
}

}  // namespace

// A top's meta file of anybody's making. Its regions lie far apart, so the input is a superblock
// and what the region that it names begins with.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    constexpr size_t kSuperBytes = 108;
    constexpr uint64_t kDiskBlocks = 40000;  // 3 chunks
    if (size < kSuperBytes) return 0;
    std::string super(reinterpret_cast<const char*>(data), kSuperBytes);
    std::memcpy(super.data() + 24, &kDiskBlocks, sizeof kDiskBlocks);
    uint32_t region = 0;
    uint32_t chunks = 0;
    std::memcpy(&region, super.data() + 88, sizeof region);
    std::memcpy(&chunks, super.data() + 92, sizeof chunks);
    const size_t region_bytes = round_up_to_block(3 * 4112 + 32768 * 32);
    const size_t start = 2 * kBlock + (region & 1) * region_bytes;
    std::string content = std::string(kBlock, '\0') + seal_block(super);
    content.resize(start);
    content.append(reinterpret_cast<const char*>(data) + kSuperBytes, size - kSuperBytes);
    size_t at = start;
    for (uint32_t i = 0; i < chunks && i < 3; ++i, at += 4112) fix_record(content, at, 4112);
    for (int i = 0; i < 64 && at < content.size(); ++i, at += 32) {
        // One record in eight stays as it is: torn ones are part of the format.
        if (i % 8 != 7) fix_record(content, at, 32);
    }
    const auto opened = TopLog::open(test::memory_file(content));
    if (!opened) return 0;
    const BlockMap& map = opened.value().map;
    if (map.blocks() != kDiskBlocks || map.count(BlockState::kZeroPending) != 0) __builtin_trap();
    for (uint64_t lba = 0; lba < map.blocks();) lba += map.run(lba, map.blocks() - lba).blocks;
    return 0;
}
