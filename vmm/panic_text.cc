#include "vmm/panic_text.h"

#include <algorithm>
#include <string_view>

namespace drupe {
namespace {

constexpr std::string_view kMark = "Kernel panic - not syncing: ";
constexpr size_t kChunkBytes = 64 << 10;
constexpr size_t kOverlap = kMark.size() + kMaxPanicText;
constexpr uint64_t kMostBytes = 256 << 20;

/// "" for none. The kernel's own format string, which is in memory too, isn't one.
std::string panic_in(std::string_view bytes) {
    for (size_t at = bytes.find(kMark); at != std::string_view::npos;
         at = bytes.find(kMark, at + 1)) {
        const std::string_view text = bytes.substr(at + kMark.size(), kMaxPanicText);
        const auto end =
            std::find_if(text.begin(), text.end(), [](char c) { return c < ' ' || c > '~'; });
        const std::string_view line = text.substr(0, static_cast<size_t>(end - text.begin()));
        if (!line.empty() && !line.starts_with('%')) return std::string(line);
    }
    return "";
}

}  // namespace

std::string find_panic_text(const GuestMemory& memory) {
    std::string chunk(kChunkBytes + kOverlap, '\0');
    uint64_t left = kMostBytes;
    for (const MemoryRegion& region : memory.regions()) {
        const uint64_t size = std::min(region.size, left);
        left -= size;
        for (uint64_t offset = 0; offset < size; offset += kChunkBytes) {
            const auto slice = memory.slice(region.guest_address + offset,
                                            std::min<uint64_t>(chunk.size(), size - offset));
            if (!slice) break;
            const size_t n = slice->copy_to(std::as_writable_bytes(std::span(chunk)));
            std::string text = panic_in(std::string_view(chunk).substr(0, n));
            if (!text.empty()) return text;
        }
    }
    return "";
}

}  // namespace drupe
