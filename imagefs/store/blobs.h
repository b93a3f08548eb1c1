#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/fd.h"
#include "base/result.h"
#include "imagefs/store/digest.h"
#include "imagefs/store/store.h"
#include "imagefs/store/store_files.h"

namespace drupe::imagefs {

/// A layer's bytes as they came or went: what a push sends to get the same digest again. A layer
/// may have several, each another compression of the same tar.
struct BlobRecord {
    Digest digest;
    uint64_t size = 0;  ///< Bytes.
    std::string media_type;
    bool kept = false;  ///< In blobs/, for open_blob(). Otherwise it is to be had at a source.
    /// Where it is known to be: "docker.io/library/debian". At most kMaxBlobSources.
    std::vector<std::string> sources;
};
inline constexpr size_t kMaxBlobSources = 64;

// Records last as long as a layer of their diffID does. Who writes them holds a lease until that
// layer is part of an image.

/// Adds to what is known of a blob; sources are merged, `kept` is left as it is.
[[nodiscard]] Status record_blob(Store& store, const Digest& diff_id, const BlobRecord& record);
/// What is known of a layer's blobs: kept ones first.
[[nodiscard]] Result<std::vector<BlobRecord>> blobs_of(Store& store, const Digest& diff_id);
[[nodiscard]] Result<std::optional<BlobRecord>> find_blob(Store& store, const Digest& digest);
/// The file of a kept blob (kNotFound otherwise), `record.size` bytes.
[[nodiscard]] Result<Fd> open_blob(const Store& store, const Digest& digest);
/// Records a blob, whose content and digest the caller has checked, and keeps its file.
[[nodiscard]] Status keep_blob(Store& store, const Digest& diff_id, const BlobRecord& record,
                               TmpFile file);

/// A manifest, byte for byte, for an Image's `manifest`.
struct ManifestRecord {
    std::string media_type;
    std::string body;
};
[[nodiscard]] Status put_manifest(Store& store, const Digest& digest, const ManifestRecord& record);
[[nodiscard]] Result<std::optional<ManifestRecord>> find_manifest(Store& store,
                                                                  const Digest& digest);

// For Store itself.
[[nodiscard]] Status migrate_blobs(Database& db);
/// Forgets what belongs to no layer and no image any more, and removes its files; returns the bytes
/// freed. With the lease held exclusively.
[[nodiscard]] Result<uint64_t> sweep_blobs(Store& store);

}  // namespace drupe::imagefs
