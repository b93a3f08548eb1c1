#pragma once

#include <functional>
#include <string>

#include "imagefs/import/import.h"
#include "imagefs/oci/reference.h"
#include "imagefs/registry/repository.h"

namespace drupe::imagefs::registry {

/// What becomes of one layer, in Docker's words ("Downloading"); bytes and total_bytes are 0 where
/// there is nothing to count.
struct LayerEvent {
    Digest blob;
    std::string state;
    uint64_t bytes = 0;
    uint64_t total_bytes = 0;
};
/// Called from any thread, one call at a time.
using LayerReport = std::function<void(const LayerEvent&)>;

struct PullResult {
    Digest image_id;
    Digest digest;          ///< What the reference names in the registry.
    bool is_newer = false;  ///< The reference named another image before, or none.
};

/// Puts an image of a registry into the store, under its canonical reference. What the store has of
/// it isn't fetched; nothing is published that wasn't checked against its digest.
[[nodiscard]] Result<PullResult> pull(Store& store, const Session& session,
                                      const oci::Reference& reference, const ImportOptions& options,
                                      const LayerReport& report);

}  // namespace drupe::imagefs::registry
