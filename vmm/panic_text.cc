#include "vmm/panic_text.h"

#include <algorithm>
#include <string_view>

namespace drupe {
namespace {

constexpr std::string_view kMark = "Kernel panic - not syncing: ";
constexpr size_t kChunkBytes = 64 << 10;
constexpr size_t kOverlap = kMark.size() + kMaxPanicText;
constexpr uint64_t kMostBytes = 256 << 20;

// How far before the panic's line its own causes stand in the log, and what they begin with.
constexpr uint64_t kLogBytes = 8 << 10;
constexpr std::string_view kCauses[] = {"BUG: ", "Oops: ", "RIP: ", "CR2: ", "traps: ", "Code: "};
constexpr size_t kMaxCauses = 6;

bool printable(char c) {
    return c >= ' ' && c <= '~';
}

std::string_view line_at(std::string_view bytes) {
    const auto end = std::find_if_not(bytes.begin(), bytes.end(), printable);
    return bytes.substr(0,
                        std::min<size_t>(static_cast<size_t>(end - bytes.begin()), kMaxPanicText));
}

/// Where the panic's line begins; npos for none. The kernel's own format string, which is in memory
/// too, isn't one.
size_t panic_in(std::string_view bytes) {
    for (size_t at = bytes.find(kMark); at != std::string_view::npos;
         at = bytes.find(kMark, at + 1)) {
        const std::string_view line = line_at(bytes.substr(at + kMark.size()));
        if (!line.empty() && !line.starts_with('%')) return at;
    }
    return std::string_view::npos;
}

/// What the kernel said of its cause before it panicked: lines of its log, which lie there one
/// after the other with other bytes between them.
std::string causes_in(std::string_view bytes) {
    std::string causes;
    size_t count = 0;
    while (!bytes.empty() && count < kMaxCauses) {
        const std::string_view line = line_at(bytes);
        const bool telling = std::ranges::any_of(
            kCauses, [&](std::string_view cause) { return line.starts_with(cause); });
        if (telling) {
            causes += "; " + std::string(line);
            ++count;
        }
        bytes.remove_prefix(std::max<size_t>(line.size(), 1));
    }
    return causes;
}

std::string bytes_at(const GuestMemory& memory, uint64_t address, uint64_t size) {
    std::string bytes(size, '\0');
    const auto slice = memory.slice(address, size);
    if (slice) slice->copy_to(std::as_writable_bytes(std::span(bytes)));
    return bytes;
}

}  // namespace

std::string find_panic_text(const GuestMemory& memory) {
    uint64_t left = kMostBytes;
    for (const MemoryRegion& region : memory.regions()) {
        const uint64_t size = std::min(region.size, left);
        left -= size;
        for (uint64_t offset = 0; offset < size; offset += kChunkBytes) {
            const uint64_t length = std::min<uint64_t>(kChunkBytes + kOverlap, size - offset);
            const std::string chunk = bytes_at(memory, region.guest_address + offset, length);
            const size_t at = panic_in(chunk);
            if (at == std::string::npos) continue;
            const uint64_t before = std::min<uint64_t>(offset + at, kLogBytes);
            return std::string(line_at(std::string_view(chunk).substr(at + kMark.size()))) +
                   causes_in(bytes_at(memory, region.guest_address + offset + at - before, before));
        }
    }
    return "";
}

}  // namespace drupe
