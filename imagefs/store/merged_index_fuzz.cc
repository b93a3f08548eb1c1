#include <string>

#include "imagefs/store/layer_format.h"
#include "imagefs/store/merged_index.h"
#include "imagefs/store/test_files.h"

// A merged index of anybody's making: every lookup gives a run inside a layer, or an error.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    using namespace drupe::imagefs;
    std::string content(reinterpret_cast<const char*>(data), size);
    if (size >= kBlock) content.replace(0, kBlock, seal_block(content.substr(0, kBlock - 4)));
    const drupe::Fd file = test::memory_file(content);
    const auto index = MergedIndex::open(file, "fuzz");
    if (!index) return 0;
    const uint64_t blocks = index.value().virtual_blocks();
    uint64_t lba = 0;
    for (int step = 0; step < 4096 && lba < blocks; ++step) {
        const auto run = index.value().lookup(lba, blocks - lba);
        if (!run) {
            ++lba;
            continue;
        }
        if (run.value().blocks == 0 || run.value().blocks > blocks - lba) __builtin_trap();
        if (run.value().present) {
            if (run.value().layer >= index.value().layer_count()) __builtin_trap();
            const MergedIndex::Layer layer = index.value().layer(run.value().layer);
            const uint64_t end = layer.data_end;
            if (run.value().offset < layer.data_begin ||
                run.value().offset + run.value().blocks > end) {
                __builtin_trap();
            }
        }
        lba += run.value().blocks;
    }
    if (index.value().verify()) return 0;
    return 0;
}
