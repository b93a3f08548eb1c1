#include "vmm/bus.h"

#include <fmt/core.h>

#include <algorithm>

namespace drupe {

Status Bus::attach(uint64_t start, uint64_t size, std::shared_ptr<BusDevice> device) {
    if (size == 0 || device == nullptr || size - 1 > UINT64_MAX - start) {
        return Error{ErrorCode::kInvalid,
                     fmt::format("no range for a device: {} bytes at {:#x}", size, start)};
    }
    const uint64_t last = start + (size - 1);
    const auto next = std::find_if(entries_.begin(), entries_.end(), [&](const Entry& entry) {
        return entry.start + (entry.size - 1) >= start;
    });
    if (next != entries_.end() && next->start <= last) {
        return Error{ErrorCode::kInvalid, fmt::format("{} bytes at {:#x} overlap a device at {:#x}",
                                                      size, start, next->start)};
    }
    entries_.insert(next, Entry{start, size, std::move(device)});
    return ok();
}

const Bus::Entry* Bus::find(uint64_t address) const {
    // The last that starts at or before the address.
    const auto after =
        std::upper_bound(entries_.begin(), entries_.end(), address,
                         [](uint64_t a, const Entry& entry) { return a < entry.start; });
    if (after == entries_.begin()) return nullptr;
    const Entry& entry = *(after - 1);
    return address - entry.start < entry.size ? &entry : nullptr;
}

bool Bus::read(uint64_t address, std::span<std::byte> out) const {
    const Entry* const entry = find(address);
    if (entry == nullptr) {
        std::fill(out.begin(), out.end(), std::byte{0xff});
        return false;
    }
    entry->device->read(address - entry->start, out);
    return true;
}

bool Bus::write(uint64_t address, std::span<const std::byte> data) const {
    const Entry* const entry = find(address);
    if (entry == nullptr) return false;
    entry->device->write(address - entry->start, data);
    return true;
}

}  // namespace drupe
