#pragma once

#include <string_view>

namespace drupe {

/// What an error begins with whose cause is a snapshot that the machine was to go on from.
inline constexpr std::string_view kSnapshotRefused =
    "what was saved of it can't be used (a start without it boots; a damaged snapshot, or live "
    "image, is best removed)";

}  // namespace drupe
