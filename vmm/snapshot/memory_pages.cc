#include "vmm/snapshot/memory_pages.h"

#include <fmt/core.h>

#include <cstddef>
#include <memory>
#include <span>

#include "base/check.h"
#include "base/codec.h"
#include "base/crc32c.h"
#include "base/fd.h"
#include "vmm/vm.h"

namespace drupe {
namespace {

constexpr uint64_t kPage = 4096;

size_t count_sums(const std::vector<PageRun>& runs) {
    size_t count = 0;
    for (const PageRun& run : runs) count += (run.count + kMaxSummedPages - 1) / kMaxSummedPages;
    return count;
}

}  // namespace

Status verify_memory(int fd, const MemoryPages& pages) {
    DRUPE_CHECK(pages.sums.size() == count_sums(pages.runs));
    const auto buffer = std::make_unique_for_overwrite<std::byte[]>(kMaxSummedPages * kPage);
    auto sum = pages.sums.begin();
    return for_summed_pieces(pages.runs, [&](PageRun piece) -> Status {
        const uint64_t offset = piece.first * kPage;
        const std::span bytes(buffer.get(), piece.count * kPage);
        if (auto read = read_exact(fd, bytes, offset); !read)
            return std::move(read).error().wrap("memory file");
        if (crc32c(bytes) == *sum++) return ok();
        return Error{
            ErrorCode::kCorrupt,
            fmt::format(
                "memory file: bytes {} to {} don't have their checksum: the snapshot is damaged",
                offset, offset + bytes.size() - 1)};
    });
}

std::string encode_memory_pages(const MemoryPages& pages) {
    Encoder out;
    out.put(pages.total);
    put_runs(out, pages.runs);
    for (const uint32_t sum : pages.sums) out.put(sum);
    return out.take();
}

Result<MemoryPages> decode_memory_pages(std::string_view bytes) {
    const auto bad = [](std::string_view what) {
        return Error{ErrorCode::kCorrupt, fmt::format("section {}: {}", kMemorySection, what)};
    };
    Decoder in(bytes);
    MemoryPages pages;
    pages.total = in.get<uint64_t>();
    if (pages.total > Vm::kMaxMemory / kPage) return bad("more pages than a machine has");
    auto runs = get_runs(in, pages.total, UINT32_MAX);
    if (!runs)
        return bad(
            "a run of pages that isn't apart from the one before it, not in RAM, or cut short");
    pages.runs = *std::move(runs);
    if (in.rest().size() != count_sums(pages.runs) * sizeof(uint32_t))
        return bad("it is cut short, or hasn't a checksum for each piece of its runs");
    pages.sums.resize(in.rest().size() / sizeof(uint32_t));
    for (uint32_t& sum : pages.sums) sum = in.get<uint32_t>();
    return pages;
}

}  // namespace drupe
