#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <type_traits>

namespace drupe::imagefs::guestfs {

/// A little-endian number inside bytes of the disk. Reading past the end gives 0: whoever reads
/// checks the offsets that the disk chose; this keeps one that was forgotten from being a hole.
template <class T>
[[nodiscard]] T number_at(std::span<const std::byte> bytes, size_t at) {
    static_assert(std::is_unsigned_v<T>);
    T value = 0;
    if (at <= bytes.size() && sizeof value <= bytes.size() - at) {
        std::memcpy(&value, bytes.data() + at, sizeof value);
    }
    return value;
}
[[nodiscard]] inline uint16_t u16(std::span<const std::byte> bytes, size_t at) {
    return number_at<uint16_t>(bytes, at);
}
[[nodiscard]] inline uint32_t u32(std::span<const std::byte> bytes, size_t at) {
    return number_at<uint32_t>(bytes, at);
}

}  // namespace drupe::imagefs::guestfs
