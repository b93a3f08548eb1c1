#include "vmm/snapshot/page_runs.h"

namespace drupe {

void put_runs(Encoder& out, const std::vector<PageRun>& runs) {
    out.put(static_cast<uint32_t>(runs.size()));
    for (const PageRun& run : runs) {
        out.put(run.first);
        out.put(run.count);
    }
}

std::optional<std::vector<PageRun>> get_runs(Decoder& in, uint64_t total, uint32_t most) {
    std::vector<PageRun> runs(in.get_count(most, sizeof(PageRun)));
    uint64_t next = 0;  // the first page that the next run may begin with
    for (PageRun& run : runs) {
        run.first = in.get<uint64_t>();
        run.count = in.get<uint64_t>();
        if (run.first < next || run.count == 0 || run.first > total ||
            run.count > total - run.first)
            return std::nullopt;
        next = run.first + run.count + 1;
    }
    if (!in.ok()) return std::nullopt;
    return runs;
}

}  // namespace drupe
