#include "vmm/vmgenid.h"

#include <fmt/core.h>

#include "base/codec.h"

namespace drupe {

Result<VmGenId> VmGenId::create(const GuestMemory& memory, uint64_t address) {
    constexpr uint64_t kPage = 4096;
    const auto page = memory.slice(address, kPage);
    if (!page || address % kPage != 0) {
        return Error{ErrorCode::kInvalid,
                     fmt::format("no page of RAM for a generation id is at {:#x}", address)};
    }
    return VmGenId(address, *page);
}

Result<VmGenId> VmGenId::decode(const GuestMemory& memory, std::string_view bytes) {
    Decoder in(bytes);
    const auto address = in.get<uint64_t>();
    const auto corrupt = [](std::string_view what) {
        return Error{ErrorCode::kCorrupt, fmt::format("section {}: {}", kVmGenIdSection, what)};
    };
    if (!in.at_end()) return corrupt("it is cut short, or has bytes behind its end");
    auto created = create(memory, address);
    if (!created) return corrupt(created.error().message);
    return created;
}

std::string VmGenId::encode() const {
    Encoder out;
    out.put(address_);
    return out.take();
}

}  // namespace drupe
