#include "imagefs/oci/image_source.h"

#include <fmt/core.h>
#include <sys/stat.h>

#include <algorithm>

#include "imagefs/oci/file_set.h"
#include "imagefs/oci/json.h"
#include "imagefs/oci/reference.h"

namespace drupe::imagefs::oci {
namespace {

constexpr size_t kMaxDocument = 4 << 20;
constexpr size_t kMaxImages = 256;

using Files = std::shared_ptr<const FileSet>;

Result<std::string> read_document(const FileSet& files, std::string_view name) {
    TRY_ASSIGN(const ByteSourcePtr source, files.open(name));
    return read_all(*source, kMaxDocument, name);
}

std::string blob_path(const Digest& digest) {
    return "blobs/sha256/" + digest.hex();
}

Result<std::string> read_blob(const FileSet& files, const Descriptor& descriptor) {
    const std::string name = blob_path(descriptor.digest);
    TRY_ASSIGN(std::string text, read_document(files, name));
    if (text.size() != descriptor.size || sha256(text) != descriptor.digest) {
        return Error{ErrorCode::kCorrupt,
                     fmt::format("{}: its content does not match its digest and size", name)};
    }
    return text;
}

// Docker archives.

Result<SourceImage> load_docker_image(const Files& files, const DockerArchiveImage& listed) {
    TRY_ASSIGN(std::string text, read_document(*files, listed.config));
    SourceImage image;
    image.id = sha256(text);
    // The config is named after its digest: "HEX.json" or "blobs/sha256/HEX".
    const std::string_view base =
        std::string_view(listed.config).substr(listed.config.rfind('/') + 1);
    const auto named = Digest::parse(base.substr(0, 64));
    if (named && named.value() != image.id) {
        return Error{ErrorCode::kCorrupt,
                     fmt::format("{}: its content does not match its name", listed.config)};
    }
    TRY_ASSIGN(image.config, ImageConfig::parse(std::move(text)));
    TRY(check_config(image.config, listed.layers.size()));
    for (size_t i = 0; i < listed.layers.size(); ++i) {
        const std::string& name = listed.layers[i];
        SourceLayer layer;
        layer.diff_id = image.config.diff_ids[i];
        TRY_ASSIGN(layer.size, files->size_of(name));
        layer.open = [files, name] { return files->open(name); };
        image.layers.push_back(std::move(layer));
    }
    for (const std::string& tag : listed.repo_tags) {
        TRY_ASSIGN(const Reference reference, Reference::parse(tag));
        image.references.push_back(reference.canonical());
    }
    return image;
}

Status load_docker_archive(const Files& files, std::vector<SourceImage>& images) {
    TRY_ASSIGN(const std::string text, read_document(*files, "manifest.json"));
    TRY_ASSIGN(const auto list, parse_docker_manifest(text));
    for (const DockerArchiveImage& listed : list) {
        TRY_ASSIGN(SourceImage image, load_docker_image(files, listed));
        images.push_back(std::move(image));
    }
    return ok();
}

// OCI layouts.

class LayoutLoader {
  public:
    LayoutLoader(Files files, std::string base_name, std::vector<SourceImage>& images)
        : files_(std::move(files)), base_name_(std::move(base_name)), images_(images) {}

    Status load() {
        TRY_ASSIGN(const std::string layout, read_document(*files_, "oci-layout"));
        TRY_ASSIGN(const Json json, parse_json(layout, "oci-layout"));
        TRY_ASSIGN(const auto version, string_member(json, "imageLayoutVersion"));
        if (version != "1.0.0") {
            return Error{ErrorCode::kUnsupported, "oci-layout: its version is not 1.0.0"};
        }
        TRY_ASSIGN(const std::string text, read_document(*files_, "index.json"));
        TRY_ASSIGN(const Index index, Index::parse(text));
        for (const Descriptor& descriptor : index.manifests) {
            // One image each. An attestation or the like beside them is no error.
            const BlobKind kind = kind_of(descriptor.media_type);
            if (kind != BlobKind::kIndex && kind != BlobKind::kManifest) continue;
            if (index.manifests.size() > 1 && !is_for_us(descriptor)) continue;
            if (images_.size() >= kMaxImages) {
                return Error{ErrorCode::kLimit, "more than 256 images in one layout"};
            }
            TRY(load_image(descriptor));
        }
        return ok();
    }

  private:
    /// Goes down an index of platforms to a manifest.
    Result<Descriptor> select_manifest(Descriptor descriptor) const {
        for (int depth = 0; depth < kMaxIndexDepth; ++depth) {
            if (kind_of(descriptor.media_type) == BlobKind::kManifest) return descriptor;
            TRY_ASSIGN(const std::string text, read_blob(*files_, descriptor));
            TRY_ASSIGN(const Index index, Index::parse(text));
            TRY_ASSIGN(descriptor, choose_manifest(index));
        }
        return Error{ErrorCode::kLimit, "image indexes nested deeper than 4"};
    }

    Status load_image(const Descriptor& listed) {
        TRY_ASSIGN(const Descriptor selected, select_manifest(listed));
        TRY_ASSIGN(const std::string text, read_blob(*files_, selected));
        TRY_ASSIGN(const Manifest manifest, Manifest::parse(text));
        TRY_ASSIGN(std::string config, read_blob(*files_, manifest.config));
        SourceImage image;
        image.id = manifest.config.digest;
        image.manifest = selected.digest;
        image.manifest_text = text;
        image.manifest_media_type = selected.media_type;
        TRY_ASSIGN(image.config, ImageConfig::parse(std::move(config)));
        TRY(check_config(image.config, manifest.layers.size()));
        for (size_t i = 0; i < manifest.layers.size(); ++i) {
            const Descriptor& blob = manifest.layers[i];
            const std::string name = blob_path(blob.digest);
            SourceLayer layer;
            layer.diff_id = image.config.diff_ids[i];
            layer.blob = blob.digest;
            layer.size = blob.size;
            layer.media_type = blob.media_type;
            layer.open = [files = files_, name] { return files->open(name); };
            image.layers.push_back(std::move(layer));
        }
        if (auto reference = reference_of(listed)) image.references.push_back(*reference);
        images_.push_back(std::move(image));
        return ok();
    }

    /// containerd and Docker annotate a whole reference; umoci and skopeo only a tag, to which the
    /// layout's own name is the natural image name.
    std::optional<std::string> reference_of(const Descriptor& listed) const {
        const auto annotation = [&](const char* key) {
            const auto found = listed.annotations.find(key);
            return found == listed.annotations.end() ? std::string() : found->second;
        };
        std::string text = annotation("io.containerd.image.name");
        if (text.empty()) {
            text = annotation("org.opencontainers.image.ref.name");
            if (text.empty()) return std::nullopt;
            if (text.find_first_of("/:@") == std::string::npos) text = base_name_ + ":" + text;
        }
        const auto reference = Reference::parse(text);
        if (!reference) return std::nullopt;
        return reference.value().canonical();
    }

    Files files_;
    std::string base_name_;
    std::vector<SourceImage>& images_;
};

/// "/tmp/My-Image.tar.gz" -> "my-image"
std::string base_name_of(std::string path) {
    while (path.size() > 1 && path.back() == '/') path.pop_back();
    path = path.substr(path.rfind('/') + 1);
    for (const std::string_view suffix : {".gz", ".zst", ".tgz", ".tar", ".oci"}) {
        if (path.size() > suffix.size() && path.ends_with(suffix)) {
            path.resize(path.size() - suffix.size());
        }
    }
    std::transform(path.begin(), path.end(), path.begin(), [](char c) {
        return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
    });
    return path;
}

}  // namespace

Result<ImageSource> ImageSource::open(const std::string& path, const std::string& scratch_folder) {
    struct stat info {};
    if (stat(path.c_str(), &info) != 0) return os_error(path);
    std::unique_ptr<FileSet> opened;
    if (S_ISDIR(info.st_mode)) {
        TRY_ASSIGN(opened, open_folder(path));
    } else {
        TRY_ASSIGN(opened, open_archive(path, scratch_folder));
    }
    const Files files = std::move(opened);
    ImageSource source;
    Status loaded = ok();
    // What Docker writes nowadays is both; the layout says more (digests of the layers' blobs).
    if (files->contains("oci-layout") && files->contains("index.json")) {
        loaded = LayoutLoader(files, base_name_of(path), source.images_).load();
    } else if (files->contains("manifest.json")) {
        loaded = load_docker_archive(files, source.images_);
    } else {
        loaded = Error{ErrorCode::kInvalid,
                       "neither an OCI image layout nor an archive of `docker save` (to import a "
                       "root file system, use `drupe import`)"};
    }
    if (!loaded) return std::move(loaded).error().wrap(path);
    if (source.images_.empty()) {
        return Error{ErrorCode::kNotFound,
                     fmt::format("{}: no image for {}/{} in it", path, kOs, kArchitecture)};
    }
    return source;
}

}  // namespace drupe::imagefs::oci
