#pragma once

#include <string>

#include "imagefs/oci/image_config.h"
#include "imagefs/oci/manifest.h"
#include "imagefs/oci/reference.h"
#include "imagefs/registry/blob_reader.h"

namespace drupe::imagefs::registry {

/// An image as a registry describes it; everything has been checked against its digest.
struct RemoteImage {
    Digest digest;           ///< What the reference names: a manifest, or an index of several.
    Digest manifest_digest;  ///< Of the one for this platform.
    std::string manifest_text;
    std::string manifest_media_type;
    oci::Manifest manifest;
    oci::ImageConfig config;
};

/// kNotFound: no such image; kDenied: no right to it; kUnsupported: not for linux/amd64.
[[nodiscard]] Result<RemoteImage> resolve(const Repositories& from, HttpClient& http,
                                          const oci::Reference& reference);

}  // namespace drupe::imagefs::registry
