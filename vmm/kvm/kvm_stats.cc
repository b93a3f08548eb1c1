#include "vmm/kvm/kvm_stats.h"

#include <algorithm>
#include <cstring>
#include <span>

#include "vmm/kvm/kvm_headers.h"

namespace drupe {
namespace {

constexpr uint32_t kMaxCounters = 4096;
constexpr uint32_t kMaxNameSize = 256;
constexpr uint64_t kMaxDataSize = 1 << 20;

}  // namespace

Result<KvmStats> KvmStats::create(Fd fd) {
    kvm_stats_header header{};
    TRY(read_exact(fd.get(), std::as_writable_bytes(std::span(&header, 1)), 0));
    if (header.num_desc > kMaxCounters || header.name_size > kMaxNameSize)
        return Error{ErrorCode::kUnsupported, "KVM's statistics have an unknown layout"};

    const size_t entry_size = sizeof(kvm_stats_desc) + header.name_size;
    std::vector<std::byte> descriptions(header.num_desc * entry_size);
    TRY(read_exact(fd.get(), descriptions, header.desc_offset));

    std::vector<Counter> counters;
    uint64_t data_size = 0;
    for (size_t i = 0; i < header.num_desc; ++i) {
        const std::byte* const entry = descriptions.data() + i * entry_size;
        kvm_stats_desc description{};
        std::memcpy(&description, entry, sizeof(kvm_stats_desc));
        if (description.size != 1) continue;  // a histogram
        std::string name(header.name_size, '\0');
        std::memcpy(name.data(), entry + sizeof(kvm_stats_desc), name.size());
        name.resize(std::min(name.find('\0'), name.size()));
        counters.push_back({std::move(name), description.offset});
        data_size = std::max<uint64_t>(data_size, description.offset + sizeof(uint64_t));
    }
    if (data_size > kMaxDataSize)
        return Error{ErrorCode::kUnsupported, "KVM's statistics have an unknown layout"};
    return KvmStats(std::move(fd), header.data_offset, data_size, std::move(counters));
}

Status KvmStats::add_to(std::map<std::string, uint64_t>& sums) const {
    std::vector<std::byte> data(data_size_);
    TRY(read_exact(fd_.get(), data, data_offset_));
    for (const Counter& counter : counters_) {
        uint64_t value = 0;
        std::memcpy(&value, data.data() + counter.offset, sizeof value);
        sums[counter.name] += value;
    }
    return ok();
}

}  // namespace drupe
