#include "vmm/snapshot/working_set.h"

#include "base/codec.h"

namespace drupe {
namespace {

constexpr uint32_t kVersion = 1;

void put(Encoder& out, const std::vector<PageRun>& runs) {
    out.put(static_cast<uint32_t>(runs.size()));
    for (const PageRun& run : runs) {
        out.put(run.first);
        out.put(run.count);
    }
}

bool get(Decoder& in, uint64_t total, size_t most, std::vector<PageRun>& runs) {
    runs.resize(in.get_count(static_cast<uint32_t>(most), sizeof(PageRun)));
    uint64_t end = 0;
    for (PageRun& run : runs) {
        run.first = in.get<uint64_t>();
        run.count = in.get<uint64_t>();
        if (run.first < end || run.count == 0 || run.first > total || run.count > total - run.first)
            return false;
        end = run.first + run.count;
    }
    return true;
}

}  // namespace

std::string encode(const WorkingSet& set) {
    Encoder out;
    out.put(kVersion);
    out.put(set.total);
    put(out, set.read);
    put(out, set.written);
    return out.take();
}

Result<WorkingSet> decode_working_set(std::string_view bytes) {
    Decoder in(bytes);
    WorkingSet set;
    const auto version = in.get<uint32_t>();
    set.total = in.get<uint64_t>();
    if (version == kVersion && get(in, set.total, kMaxWorkingSetRuns, set.read) &&
        get(in, set.total, kMaxWorkingSetRuns - set.read.size(), set.written) && in.at_end())
        return set;
    return Error{ErrorCode::kCorrupt, "working set: it isn't whole, or of another version"};
}

}  // namespace drupe
