#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace drupe {

/// CRC-32C (Castagnoli) as iSCSI and ext4 compute it ("123456789" gives 0xE3069283). To continue
/// over several pieces, pass the previous result.
[[nodiscard]] uint32_t crc32c(std::span<const std::byte> data, uint32_t previous = 0);

}  // namespace drupe
