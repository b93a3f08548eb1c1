#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "imagefs/oci/byte_sources.h"
#include "imagefs/oci/image_config.h"
#include "imagefs/oci/manifest.h"

namespace drupe::imagefs::oci {

/// A layer as it can be fetched: a possibly compressed tar.
struct SourceLayer {
    Digest diff_id;              ///< Of the uncompressed tar, as the image's config says.
    std::optional<Digest> blob;  ///< Of the bytes that open() gives, if the source says.
    uint64_t size = 0;           ///< How many bytes open() gives.
    std::string media_type;      ///< Empty: the source doesn't say.
    /// Where the blob can be had again ("docker.io/library/debian"); if nowhere, it is to be kept.
    std::vector<std::string> sources;
    std::function<Result<ByteSourcePtr>()> open;
    /// After a failure: whether open() gave wrong bytes, and gives others or an error the next
    /// time. May be empty.
    std::function<bool()> was_replaced;
};

/// An image as it can be fetched. Config and manifest have been read and checked against their
/// digests; layers have not been touched.
struct SourceImage {
    Digest id;
    ImageConfig config;
    std::optional<Digest> manifest;
    std::string manifest_text;  ///< Byte for byte, if there is one.
    std::string manifest_media_type;
    std::vector<SourceLayer> layers;
    std::vector<std::string> references;  ///< Canonical.
};

/// Images in a file or folder: an OCI layout (folder or tar) or what `docker save` writes, of any
/// age. Of an image for several platforms the one for linux/amd64 is taken.
class ImageSource {
  public:
    /// kInvalid: it is none of these. scratch_folder: for archives that are compressed as a whole.
    [[nodiscard]] static Result<ImageSource> open(const std::string& path,
                                                  const std::string& scratch_folder);

    [[nodiscard]] const std::vector<SourceImage>& images() const { return images_; }

  private:
    std::vector<SourceImage> images_;
};

}  // namespace drupe::imagefs::oci
