#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace drupe {

/// A part of a snapshot's state file: whoever wrote it knows its name, versions and bytes.
struct StateSection {
    std::string name;  ///< 1 to kMaxSectionName of a-z, 0-9, '.', '_' and '-'; once in a file.
    uint32_t version = 1;
    std::string bytes;
};

inline constexpr size_t kMaxSections = 64;
inline constexpr size_t kMaxSectionName = 31;
/// What a reader of state files has to take: 32 vCPUs with 64 KiB of XSAVE state are 4 MiB.
inline constexpr size_t kMaxStateFileBytes = 64 << 20;

/// The whole file (docs/formats/snapshot.md).
[[nodiscard]] std::string encode_state_file(std::span<const StateSection> sections);

/// From anybody's bytes. kCorrupt if they aren't what was written: the message names the section
/// and what is wrong with it. kUnsupported for another version of the format.
[[nodiscard]] Result<std::vector<StateSection>> decode_state_file(std::string_view file);

/// The bytes of a section: kCorrupt if it isn't there, kUnsupported if it has another version.
[[nodiscard]] Result<std::string_view> find_section(std::span<const StateSection> sections,
                                                    std::string_view name, uint32_t version);

}  // namespace drupe
