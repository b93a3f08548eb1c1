#include "imagefs/oci/manifest.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>

#include "imagefs/oci/json.h"

namespace drupe::imagefs::oci {
namespace {

constexpr size_t kMaxManifests = 1024;
constexpr uint64_t kMaxBlobBytes = uint64_t{1} << 40;

struct MediaType {
    std::string_view name;
    BlobKind kind;
};

constexpr std::array kMediaTypes{
    MediaType{"application/vnd.oci.image.index.v1+json", BlobKind::kIndex},
    MediaType{"application/vnd.docker.distribution.manifest.list.v2+json", BlobKind::kIndex},
    MediaType{"application/vnd.oci.image.manifest.v1+json", BlobKind::kManifest},
    MediaType{"application/vnd.docker.distribution.manifest.v2+json", BlobKind::kManifest},
    MediaType{"application/vnd.oci.image.config.v1+json", BlobKind::kConfig},
    MediaType{"application/vnd.docker.container.image.v1+json", BlobKind::kConfig},
    MediaType{"application/vnd.oci.image.layer.v1.tar", BlobKind::kLayer},
    MediaType{"application/vnd.oci.image.layer.v1.tar+gzip", BlobKind::kLayer},
    MediaType{"application/vnd.oci.image.layer.v1.tar+zstd", BlobKind::kLayer},
    MediaType{"application/vnd.docker.image.rootfs.diff.tar", BlobKind::kLayer},
    MediaType{"application/vnd.docker.image.rootfs.diff.tar.gzip", BlobKind::kLayer},
    MediaType{"application/vnd.docker.image.rootfs.diff.tar.zstd", BlobKind::kLayer},
    MediaType{"application/vnd.docker.image.rootfs.foreign.diff.tar", BlobKind::kForeignLayer},
    MediaType{"application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", BlobKind::kForeignLayer},
    MediaType{"application/vnd.oci.image.layer.nondistributable.v1.tar", BlobKind::kForeignLayer},
    MediaType{"application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
              BlobKind::kForeignLayer},
    MediaType{"application/vnd.oci.image.layer.nondistributable.v1.tar+zstd",
              BlobKind::kForeignLayer},
};

Result<Descriptor> parse_descriptor(const Json& json) {
    if (!json.is_object()) return Error{ErrorCode::kInvalid, "a descriptor is not an object"};
    Descriptor descriptor;
    TRY_ASSIGN(const auto media_type, string_member(json, "mediaType"));
    TRY_ASSIGN(const auto digest, string_member(json, "digest"));
    TRY_ASSIGN(const auto size, unsigned_member(json, "size"));
    if (!digest || !size) {
        return Error{ErrorCode::kInvalid, "a descriptor without digest or size"};
    }
    if (digest->compare(0, 7, "sha256:") != 0) {
        return Error{ErrorCode::kUnsupported,
                     fmt::format("digest '{}': only sha256 is supported", digest->substr(0, 100))};
    }
    TRY_ASSIGN(descriptor.digest, Digest::parse(*digest));
    if (*size > kMaxBlobBytes) {
        return Error{ErrorCode::kLimit,
                     fmt::format("{}: {} bytes, more than 1 TiB", *digest, *size)};
    }
    descriptor.media_type = media_type.value_or("");
    descriptor.size = *size;
    TRY_ASSIGN(const Json* platform, object_member(json, "platform"));
    if (platform != nullptr) {
        TRY_ASSIGN(const auto os, string_member(*platform, "os"));
        TRY_ASSIGN(const auto architecture, string_member(*platform, "architecture"));
        descriptor.platform = Platform{os.value_or(""), architecture.value_or("")};
    }
    TRY_ASSIGN(const auto annotations, map_member(json, "annotations"));
    descriptor.annotations.insert(annotations.begin(), annotations.end());
    return descriptor;
}

Status check_schema(const Json& json, std::string_view what) {
    TRY_ASSIGN(const auto version, unsigned_member(json, "schemaVersion"));
    if (version == 2U) return ok();
    return Error{
        ErrorCode::kUnsupported,
        fmt::format("{}: schemaVersion is not 2 (images of before 2016 can't be read)", what)};
}

Result<Descriptor> parse_layer(const Json& json) {
    TRY_ASSIGN(Descriptor layer, parse_descriptor(json));
    TRY_ASSIGN(const auto urls, strings_member(json, "urls"));
    switch (kind_of(layer.media_type)) {
        case BlobKind::kLayer:
            if (urls.empty()) return layer;
            [[fallthrough]];
        case BlobKind::kForeignLayer:
            return Error{ErrorCode::kUnsupported,
                         fmt::format("layer {} is not part of the image but lies elsewhere "
                                     "(a foreign layer)",
                                     layer.digest.to_string())};
        default:
            return Error{ErrorCode::kUnsupported,
                         fmt::format("layer {} has the unknown media type '{}'",
                                     layer.digest.to_string(), layer.media_type.substr(0, 100))};
    }
}

}  // namespace

BlobKind kind_of(std::string_view media_type) {
    const auto* const found =
        std::find_if(kMediaTypes.begin(), kMediaTypes.end(),
                     [&](const MediaType& known) { return known.name == media_type; });
    return found == kMediaTypes.end() ? BlobKind::kOther : found->kind;
}

Result<Index> Index::parse(std::string_view text) {
    TRY_ASSIGN(const Json json, parse_json(text, "image index"));
    TRY(check_schema(json, "image index"));
    TRY_ASSIGN(const Json* manifests, array_member(json, "manifests"));
    if (manifests == nullptr || manifests->size() > kMaxManifests) {
        return Error{ErrorCode::kInvalid,
                     fmt::format("image index: no manifests, or more than {}", kMaxManifests)};
    }
    Index index;
    for (const Json& item : *manifests) {
        TRY_ASSIGN(Descriptor descriptor, parse_descriptor(item));
        index.manifests.push_back(std::move(descriptor));
    }
    return index;
}

bool is_for_us(const Descriptor& descriptor) {
    return !descriptor.platform ||
           (descriptor.platform->os == kOs && descriptor.platform->architecture == kArchitecture);
}

Result<Descriptor> choose_manifest(const Index& index) {
    const auto found = std::find_if(
        index.manifests.begin(), index.manifests.end(), [](const Descriptor& candidate) {
            const BlobKind kind = kind_of(candidate.media_type);
            return is_for_us(candidate) &&
                   (kind == BlobKind::kIndex || kind == BlobKind::kManifest);
        });
    if (found != index.manifests.end()) return *found;
    return Error{ErrorCode::kUnsupported,
                 fmt::format("the image has no variant for {}/{}", kOs, kArchitecture)};
}

Result<Manifest> Manifest::parse(std::string_view text) {
    TRY_ASSIGN(const Json json, parse_json(text, "image manifest"));
    TRY(check_schema(json, "image manifest"));
    TRY_ASSIGN(const Json* config, object_member(json, "config"));
    TRY_ASSIGN(const Json* layers, array_member(json, "layers"));
    if (config == nullptr || layers == nullptr) {
        return Error{ErrorCode::kInvalid, "image manifest: no config or no layers"};
    }
    if (layers->size() > kMaxLayers) {
        return Error{ErrorCode::kLimit, fmt::format("image manifest: {} layers, at most {} can be",
                                                    layers->size(), kMaxLayers)};
    }
    Manifest manifest;
    TRY_ASSIGN(manifest.config, parse_descriptor(*config));
    if (kind_of(manifest.config.media_type) != BlobKind::kConfig) {
        return Error{ErrorCode::kUnsupported,
                     fmt::format("the manifest is not an image's: its config is of type '{}'",
                                 manifest.config.media_type.substr(0, 100))};
    }
    for (const Json& item : *layers) {
        TRY_ASSIGN(Descriptor layer, parse_layer(item));
        manifest.layers.push_back(std::move(layer));
    }
    return manifest;
}

Result<std::vector<DockerArchiveImage>> parse_docker_manifest(std::string_view text) {
    TRY_ASSIGN(const Json json, parse_json(text, "manifest.json"));
    if (!json.is_array() || json.size() > kMaxManifests) {
        return Error{ErrorCode::kInvalid, "manifest.json: not an array of at most 1024 images"};
    }
    std::vector<DockerArchiveImage> images;
    for (const Json& item : json) {
        DockerArchiveImage image;
        TRY_ASSIGN(const auto config, string_member(item, "Config"));
        TRY_ASSIGN(image.repo_tags, strings_member(item, "RepoTags"));
        TRY_ASSIGN(image.layers, strings_member(item, "Layers"));
        if (!config || image.layers.size() > kMaxLayers) {
            return Error{ErrorCode::kInvalid,
                         "manifest.json: an image without Config, or with too many layers"};
        }
        image.config = *config;
        images.push_back(std::move(image));
    }
    return images;
}

}  // namespace drupe::imagefs::oci
