#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "imagefs/ext4/entry.h"
#include "imagefs/oci/decompress.h"
#include "imagefs/oci/image_source.h"
#include "imagefs/store/store.h"

namespace drupe::imagefs {

/// What an import is doing, for whoever shows it.
struct ImportProgress {
    size_t layer = 0;  ///< From 0.
    size_t layers = 0;
    Digest diff_id{};          ///< Null while it isn't known (root file systems).
    uint64_t bytes = 0;        ///< Of the layer as it comes (compressed), done so far.
    uint64_t total_bytes = 0;  ///< 0: unknown.
    bool reused = false;       ///< It was in the store already.
    bool done = false;
};
using ImportCallback = std::function<void(const ImportProgress&)>;

struct ImportOptions {
    /// The image's name; empty: what the source says. Any form ("alpine"); kInvalid if the source
    /// holds more than one image.
    std::string reference;
    ext4::ApplyLimits limits{};
    oci::ExpansionLimit expansion{};
};

struct ImageSummary {
    Digest id;
    std::vector<std::string> references;  ///< Canonical.
    ChainId chain_id;
    size_t layers = 0;
    size_t layers_reused = 0;
    uint64_t content_bytes = 0;  ///< Written into new layers, uncompressed.
};

/// Puts one image into the store, under options.reference or the source's own names. A layer is
/// published only when its blob's digest and size and its diffID are right; layers that the store
/// has are not even read. Blobs without another source are kept. With a lease.
[[nodiscard]] Result<ImageSummary> import_image(Store& store, const oci::SourceImage& image,
                                                const ImportOptions& options,
                                                const ImportCallback& progress);

/// Puts the images of an OCI layout (folder or tar) or of a `docker save` archive into the store.
/// Their blobs are kept. The callback runs on the caller's thread, and may be empty.
[[nodiscard]] Result<std::vector<ImageSummary>> import_images(Store& store, const std::string& path,
                                                              const ImportOptions& options,
                                                              const ImportCallback& progress);

/// Makes an image of one layer of a root file system: a tar (plain, gzip or zstd) or a folder.
[[nodiscard]] Result<ImageSummary> import_rootfs(Store& store, const std::string& path,
                                                 const ImportOptions& options,
                                                 const ImportCallback& progress);

/// The image "busybox" that Drupe has built in: a small root file system around a static busybox.
[[nodiscard]] Result<ImageSummary> import_builtin_busybox(Store& store,
                                                          const std::string& busybox_path);

/// The layer that every chain starts with; made when the store doesn't have it.
[[nodiscard]] Result<ChainId> ensure_layer0(Store& store);

}  // namespace drupe::imagefs
