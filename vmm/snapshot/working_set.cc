#include "vmm/snapshot/working_set.h"

#include <utility>

#include "base/codec.h"

namespace drupe {
namespace {

constexpr uint32_t kVersion = 1;

}  // namespace

std::string encode(const WorkingSet& set) {
    Encoder out;
    out.put(kVersion);
    out.put(set.total);
    put_runs(out, set.read);
    put_runs(out, set.written);
    return out.take();
}

Result<WorkingSet> decode_working_set(std::string_view bytes) {
    Decoder in(bytes);
    WorkingSet set;
    const auto version = in.get<uint32_t>();
    set.total = in.get<uint64_t>();
    const Error bad{ErrorCode::kCorrupt, "working set: it isn't whole, or of another version"};
    if (version != kVersion) return bad;
    auto read = get_runs(in, set.total, kMaxWorkingSetRuns);
    if (!read) return bad;
    const auto left = static_cast<uint32_t>(kMaxWorkingSetRuns - read->size());
    auto written = get_runs(in, set.total, left);
    if (!written || !in.at_end()) return bad;
    set.read = *std::move(read);
    set.written = *std::move(written);
    return set;
}

}  // namespace drupe
