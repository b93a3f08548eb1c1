#pragma once

#include <array>
#include <cstddef>
#include <string>
#include <string_view>

namespace drupe::archive {

inline constexpr size_t kBlock = 512;

/// Where a field lies in a header block.
struct Field {
    size_t at;
    size_t size;
};
namespace field {
inline constexpr Field kName{0, 100};
inline constexpr Field kMode{100, 8};
inline constexpr Field kUid{108, 8};
inline constexpr Field kGid{116, 8};
inline constexpr Field kSize{124, 12};
inline constexpr Field kMtime{136, 12};
inline constexpr Field kChecksum{148, 8};
inline constexpr Field kType{156, 1};
inline constexpr Field kLink{157, 100};
inline constexpr Field kMagic{257, 8};  // and version
inline constexpr Field kMajor{329, 8};
inline constexpr Field kMinor{337, 8};
inline constexpr Field kPrefix{345, 155};
}  // namespace field

inline constexpr std::string_view kUstarMagic{
    "ustar\0"
    "00",
    8};
inline constexpr std::string_view kXattrKey = "SCHILY.xattr.";

using Block = std::array<char, kBlock>;

/// The sum of all bytes, those of the checksum itself taken as spaces.
[[nodiscard]] inline unsigned checksum(const Block& block) {
    unsigned sum = 0;
    for (size_t i = 0; i < kBlock; ++i) {
        const bool own =
            i >= field::kChecksum.at && i < field::kChecksum.at + field::kChecksum.size;
        sum += own ? unsigned{' '} : static_cast<unsigned char>(block[i]);
    }
    return sum;
}

}  // namespace drupe::archive
