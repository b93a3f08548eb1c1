#pragma once

#include <functional>
#include <string_view>

#include "base/result.h"
#include "imagefs/diff/tree_diff.h"

namespace drupe::imagefs {

/// Going beyond is kLimit: a file without blocks may say that it has any size.
struct LayerTarLimits {
    uint64_t max_content_bytes = uint64_t{256} << 30;  ///< Of all files, holes included.
};

/// Takes a tar's bytes as they come.
using TarSink = std::function<Status(std::string_view bytes)>;

struct LayerTarStats {
    uint64_t entries = 0;
    uint64_t whiteouts = 0;
    uint64_t content_bytes = 0;
};

/// Writes what changed as an OCI layer (image-spec, layer.md), the same bytes for the same disks:
/// paths in order, the directories above a change with it, whiteouts for what was deleted, an
/// opaque whiteout in a directory that was deleted and made again. Of a file with several names all
/// names are there, the first with the content. Sockets are left out. Holds one piece of a file and
/// the names of what has several.
///
/// kUnsupported: a file whose name would mean a whiteout.
[[nodiscard]] Result<LayerTarStats> write_layer_tar(TreeDiff& diff, const TarSink& sink,
                                                    const LayerTarLimits& limits = {});

}  // namespace drupe::imagefs
