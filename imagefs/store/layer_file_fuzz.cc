#include <cstring>
#include <string>

#include "base/crc32c.h"
#include "imagefs/store/layer_file.h"
#include "imagefs/store/layer_format.h"
#include "imagefs/store/test_files.h"

// A layer file of anybody's making: open() and verify() end in a Result, whatever it holds. Sums
// are put right first, or the fuzzer would not get behind them.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    using namespace drupe::imagefs;
    std::string content(reinterpret_cast<const char*>(data), size);
    if (size >= kBlock) {
        constexpr size_t kExtentCountAt = 168;
        constexpr size_t kIndexCrcAt = 172;
        constexpr size_t kDataBlocksAt = 152;
        uint64_t data_blocks = 0;
        uint32_t extents = 0;
        std::memcpy(&data_blocks, content.data() + kDataBlocksAt, sizeof data_blocks);
        std::memcpy(&extents, content.data() + kExtentCountAt, sizeof extents);
        const LayerLayout layout = layout_of(data_blocks % (1 << 20), extents);
        if (layout.index <= size && layout.index_bytes <= size - layout.index) {
            const uint32_t crc = drupe::crc32c(
                std::as_bytes(std::span(content).subspan(layout.index, layout.index_bytes)));
            std::memcpy(content.data() + kIndexCrcAt, &crc, sizeof crc);
        }
        content.replace(0, kBlock, seal_block(content.substr(0, kBlock - 4)));
        // The last block decides on the form: every other input may be a sealed top.
        if (size >= 2 * kBlock && size % 2 == 0) {
            const size_t last = size - kBlock;
            content.replace(last, kBlock, seal_block(content.substr(last, kBlock - 4)));
        }
    }
    const auto layer = LayerFile::open(test::memory_file(content), "fuzz");
    if (!layer) return 0;
    uint64_t end = 0;
    for (const LayerExtent& extent : layer.value().extents()) {
        if (extent.lba < end) __builtin_trap();
        end = extent.lba + extent.blocks;
        if (extent.blocks == 0 || end > layer.value().info().identity.virtual_blocks)
            __builtin_trap();
        // Zeroes have no data in the file.
        if (extent.kind == ExtentKind::kData && (extent.offset + extent.blocks) * kBlock > size)
            __builtin_trap();
    }
    if (layer.value().verify()) return 0;
    return 0;
}
