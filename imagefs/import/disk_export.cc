#include "imagefs/import/disk_export.h"

#include <unistd.h>

#include <algorithm>
#include <vector>

#include "base/fd.h"

namespace drupe::imagefs {

Status export_raw(const LayeredDisk& disk, int fd) {
    constexpr uint64_t kBlockSize = BlockBackend::kBlockSize;
    constexpr uint64_t kMaxBlocks = 256;
    if (ftruncate(fd, static_cast<off_t>(disk.size_bytes())) != 0) {
        return os_error("set the size of the exported disk");
    }
    std::vector<std::byte> buffer(kMaxBlocks * kBlockSize);
    const uint64_t end = disk.size_bytes() / kBlockSize;
    for (uint64_t at = 0; at < end;) {
        TRY_ASSIGN(const MergedIndex::Run run, disk.parent_run(at, end - at));
        const uint64_t run_end = at + run.blocks;
        if (!run.present) {
            at = run_end;
            continue;
        }
        while (at < run_end) {
            const uint64_t count = std::min(kMaxBlocks, run_end - at);
            TRY(disk.read_parent(at, count, buffer.data()));
            TRY(write_exact(fd, std::span(buffer).first(count * kBlockSize), at * kBlockSize));
            at += count;
        }
    }
    return ok();
}

}  // namespace drupe::imagefs
