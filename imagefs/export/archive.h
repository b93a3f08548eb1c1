#pragma once

#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "imagefs/export/image_export.h"
#include "imagefs/export/layer_tar.h"

namespace drupe::imagefs {

enum class ArchiveFormat : uint8_t {
    kDocker,  ///< What `docker save` writes: an OCI layout with a manifest.json beside it.
    kOci,     ///< An OCI layout in a tar.
};

struct ArchivedImage {
    OutImage image;
    std::vector<std::string> references;  ///< Canonical; may be none.
};

/// Writes images as one tar. Blobs that several have are there once; the same bytes for the same
/// images. kCorrupt: a blob isn't what its digest says.
[[nodiscard]] Status write_archive(ArchiveFormat format, std::span<const ArchivedImage> images,
                                   const TarSink& sink);

}  // namespace drupe::imagefs
