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
__attribute__((target("sse4.2"))) uint64_t take_word(uint64_t crc, const std::byte* at) {
    uint64_t word = 0;
    std::memcpy(&word, at, sizeof word);
    return _mm_crc32_u64(crc, word);
}

__attribute__((target("sse4.2"))) uint32_t update_by_instruction(uint32_t crc,
                                                                 std::span<const std::byte> data) {
    const std::byte* at = data.data();
    const std::byte* const end = at + data.size();
    uint64_t wide = crc;
    for (; end - at >= 32; at += 32) {  // of large pieces, half the instructions were the loop's
        wide = take_word(wide, at);
        wide = take_word(wide, at + 8);
        wide = take_word(wide, at + 16);
        wide = take_word(wide, at + 24);
    }
    for (; end - at >= 8; at += 8) wide = take_word(wide, at);
    crc = static_cast<uint32_t>(wide);
    for (; at != end; ++at) crc = _mm_crc32_u8(crc, static_cast<uint8_t>(*at));
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
