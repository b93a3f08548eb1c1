#pragma once

#include <functional>
#include <memory>
#include <optional>

#include "imagefs/ext4/block_device.h"
#include "imagefs/ext4/entry.h"
#include "imagefs/oci/byte_sources.h"
#include "imagefs/oci/decompress.h"
#include "imagefs/store/store.h"

namespace drupe::imagefs {

/// A layer's tar as it comes, and what is known of it beforehand.
struct LayerInput {
    ByteSource& blob;
    std::optional<Digest> blob_digest;
    uint64_t blob_size = 0;
    bool size_is_exact = true;  ///< Otherwise blob_size is the most it may have.
    std::optional<Digest> diff_id;
    int copy_fd = -1;  ///< A file that the blob is written to as it passes; -1: none.
};

struct LayerResult {
    Digest diff_id;
    Digest blob_digest;
    uint64_t blob_bytes = 0;
    std::string media_type;  ///< OCI's, by what the blob is.
    ext4::ApplyStats stats;
};

/// blob -> SHA-256 -> decompress -> SHA-256 -> apply, the first half on a thread of its own.
/// kCorrupt if a digest or the size is another than expected: the builder is of no further use
/// then.
[[nodiscard]] Result<LayerResult> build_layer(LayerBuilder& builder, const LayerInput& input,
                                              const ext4::ApplyLimits& limits,
                                              const oci::ExpansionLimit& expansion,
                                              const std::function<void(uint64_t)>& on_bytes);

/// The same of a layer that is there already: reads and checks, and copies if asked, but applies
/// nothing.
[[nodiscard]] Result<LayerResult> check_layer(const LayerInput& input,
                                              const ext4::ApplyLimits& limits,
                                              const oci::ExpansionLimit& expansion,
                                              const std::function<void(uint64_t)>& on_bytes);

}  // namespace drupe::imagefs
