#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "imagefs/ext4/byte_source.h"
#include "imagefs/store/blobs.h"
#include "imagefs/store/store.h"

namespace drupe::imagefs {

/// A layer as it leaves: exactly `size` bytes of this digest, each time it is opened.
struct OutBlob {
    Digest digest;
    uint64_t size = 0;
    std::string media_type;
    std::function<Result<std::unique_ptr<ByteSource>>()> open;
};

/// An image as a registry or an archive takes it.
struct OutImage {
    std::string config;  ///< Byte for byte; its digest is the image's ID.
    std::string config_media_type;
    std::string manifest;  ///< Byte for byte; names the config and the layers below.
    std::string manifest_media_type;
    std::vector<OutBlob> layers;  ///< Bottom first.
    std::vector<Digest> diff_ids;
};

/// Fetches a blob that isn't kept from where it came from.
using BlobFetcher = std::function<Result<std::unique_ptr<ByteSource>>(const BlobRecord&)>;

/// Opens what a layer changes of its parent as an OCI layer tar, the same bytes each time: what
/// reads the disk that a guest wrote (engine/disk_reader.h).
using OpenLayerTar =
    std::function<Result<std::unique_ptr<ByteSource>>(const ChainId& parent, const ChainId& layer)>;

/// Makes and keeps the blobs of layers that guests wrote and that have none yet, so that
/// prepare_image() needs no open_tar any more.
[[nodiscard]] Status make_blobs(Store& store, const Image& image, const OpenLayerTar& open_tar);

/// An image in the form it came in if its manifest is known: the same bytes, the same digests.
/// Otherwise a manifest is made of its layers' blobs. A layer that has none, because a guest wrote
/// it, is made into one by open_tar, which the store keeps: the next time it is the same. The
/// config then says what its layers really are, so that its digest may be another than image.id.
/// The store outlives the result. kUnsupported: a layer has no blob that is kept or could be
/// fetched, and there is no open_tar.
[[nodiscard]] Result<OutImage> prepare_image(Store& store, const Image& image,
                                             const BlobFetcher& refetch,
                                             const OpenLayerTar& open_tar = {});

}  // namespace drupe::imagefs
