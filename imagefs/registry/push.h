#pragma once

#include "imagefs/oci/reference.h"
#include "imagefs/registry/pull.h"
#include "imagefs/registry/repository.h"
#include "imagefs/store/store.h"

namespace drupe::imagefs::registry {

struct PushResult {
    Digest digest;  ///< Of the manifest.
    uint64_t manifest_bytes = 0;
};

/// Sends an image to the registry that the reference names. Blobs that are there already, or in
/// another repository of the same registry, aren't sent.
[[nodiscard]] Result<PushResult> push(Store& store, const Session& session, const Image& image,
                                      const oci::Reference& reference, const LayerReport& report);

}  // namespace drupe::imagefs::registry
