#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "imagefs/store/digest.h"

namespace drupe::imagefs::oci {

struct Platform {
    std::string os;
    std::string architecture;
};

/// A reference to a blob by content (image-spec, descriptor.md).
struct Descriptor {
    std::string media_type;
    Digest digest;
    uint64_t size = 0;
    std::optional<Platform> platform;
    std::map<std::string, std::string> annotations;
};

/// What a blob that a descriptor points at can be, by media type (OCI's and Docker schema 2's).
enum class BlobKind : uint8_t { kIndex, kManifest, kConfig, kLayer, kForeignLayer, kOther };
[[nodiscard]] BlobKind kind_of(std::string_view media_type);

/// index.json, an image index or a manifest list.
struct Index {
    std::vector<Descriptor> manifests;
    [[nodiscard]] static Result<Index> parse(std::string_view text);
};

/// What there is images for, in this build.
inline constexpr std::string_view kOs = "linux";
inline constexpr std::string_view kArchitecture = "amd64";
/// How deep indexes may be nested.
inline constexpr int kMaxIndexDepth = 4;

/// Of our platform, or of none that is named.
[[nodiscard]] bool is_for_us(const Descriptor& descriptor);
/// The first manifest or index for us. kUnsupported: there is none.
[[nodiscard]] Result<Descriptor> choose_manifest(const Index& index);

struct Manifest {
    Descriptor config;
    std::vector<Descriptor> layers;  ///< Bottom first.
    /// kUnsupported: layers that have to be fetched from somewhere else, encrypted layers,
    /// artifacts that aren't images.
    [[nodiscard]] static Result<Manifest> parse(std::string_view text);
};

/// One image of Docker's manifest.json.
struct DockerArchiveImage {
    std::string config;  ///< A member's name.
    std::vector<std::string> repo_tags;
    std::vector<std::string> layers;  ///< Members' names, bottom first.
};
[[nodiscard]] Result<std::vector<DockerArchiveImage>> parse_docker_manifest(std::string_view text);

inline constexpr size_t kMaxLayers = 512;

}  // namespace drupe::imagefs::oci
