#include "base/crc32c.h"

#include <array>
#include <cstring>
#if defined(__x86_64__)
#include <nmmintrin.h>
#endif

namespace drupe {
namespace {

constexpr std::array<uint32_t, 256> make_table() {
    std::array<uint32_t, 256> table{};
    for (uint32_t i = 0; i < 256; ++i) {
        uint32_t crc = i;
        for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1) != 0 ? 0x82F63B78U : 0U);
        table[i] = crc;
    }
    return table;
}
constexpr std::array<uint32_t, 256> kTable = make_table();

uint32_t update_by_table(uint32_t crc, std::span<const std::byte> data) {
    for (const std::byte b : data) {
        crc = (crc >> 8) ^ kTable[(crc ^ static_cast<uint32_t>(b)) & 0xFF];
    }
    return crc;
}

#if defined(__x86_64__)
__attribute__((target("sse4.2"))) uint32_t update_by_instruction(uint32_t crc,
                                                                 std::span<const std::byte> data) {
    uint64_t wide = crc;
    size_t i = 0;
    for (; i + 8 <= data.size(); i += 8) {
        uint64_t word = 0;
        std::memcpy(&word, data.data() + i, 8);
        wide = _mm_crc32_u64(wide, word);
    }
    crc = static_cast<uint32_t>(wide);
    for (; i < data.size(); ++i) crc = _mm_crc32_u8(crc, static_cast<uint8_t>(data[i]));
    return crc;
}
#endif

}  // namespace

uint32_t crc32c(std::span<const std::byte> data, uint32_t previous) {
#if defined(__x86_64__)
    static const bool has_instruction = __builtin_cpu_supports("sse4.2") != 0;
    if (has_instruction) return ~update_by_instruction(~previous, data);
#endif
    return ~update_by_table(~previous, data);
}

}  // namespace drupe
