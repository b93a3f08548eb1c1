#include "imagefs/export/archive.h"

#include <fmt/core.h>

#include <set>

#include "imagefs/import/tar_stream.h"
#include "imagefs/oci/byte_sources.h"
#include "imagefs/oci/json.h"
#include "imagefs/oci/reference.h"
#include "imagefs/store/sha256.h"

namespace drupe::imagefs {
namespace {

using oci::Json;

std::string blob_name(const Digest& digest) {
    return "blobs/sha256/" + digest.hex();
}

class Archive {
  public:
    explicit Archive(const TarSink& sink) : sink_(sink), buffer_(256 << 10) {}

    Status folder(const char* name) {
        ext4::Entry entry;
        entry.path = name;
        entry.type = ext4::EntryType::kDirectory;
        entry.mode = 0755;
        return put(tar_.header(entry));
    }
    Status file(const std::string& name, std::string_view content) {
        TRY(start_file(name, content.size()));
        return put(tar_.content(content));
    }
    Status blob(std::string_view content) {
        const Digest digest = sha256(content);
        if (!written_.insert(digest).second) return ok();
        return file(blob_name(digest), content);
    }
    Status layer(const OutBlob& blob) {
        if (!written_.insert(blob.digest).second) return ok();
        TRY(start_file(blob_name(blob.digest), blob.size));
        TRY_ASSIGN(const auto source, blob.open());
        const std::string what = "layer " + blob.digest.to_string();
        oci::HashingSource hashed(*source, blob.size, what);
        for (;;) {
            TRY_ASSIGN(const size_t got, hashed.read(buffer_));
            if (got == 0) break;
            TRY(put(tar_.content({reinterpret_cast<const char*>(buffer_.data()), got})));
        }
        if (hashed.bytes() == blob.size && hashed.finish() == blob.digest) return ok();
        return Error{ErrorCode::kCorrupt, what + ": its bytes are others than they should be"};
    }
    Status finish() { return put(tar_.finish()); }

  private:
    Status start_file(const std::string& name, uint64_t size) {
        ext4::Entry entry;
        entry.path = name;
        entry.mode = 0644;
        entry.size = size;
        return put(tar_.header(entry));
    }
    Status put(const Status& written) {
        TRY(written);
        return sink_(tar_.take());
    }

    const TarSink& sink_;
    TarWriter tar_;
    std::vector<std::byte> buffer_;
    std::set<Digest> written_;
};

/// One for each reference, one without a name if there is none.
void add_to_index(const ArchivedImage& archived, Json& manifests) {
    const OutImage& image = archived.image;
    const Json descriptor{{"mediaType", image.manifest_media_type},
                          {"digest", sha256(image.manifest).to_string()},
                          {"size", image.manifest.size()}};
    for (const std::string& name : archived.references) {
        Json named = descriptor;
        const auto reference = oci::Reference::parse(name);
        named["annotations"] = {
            {"io.containerd.image.name", name},
            {"org.opencontainers.image.ref.name", reference ? reference.value().tag : name}};
        manifests.push_back(std::move(named));
    }
    if (archived.references.empty()) manifests.push_back(descriptor);
}

void add_to_docker_manifest(const ArchivedImage& archived, Json& images) {
    Json tags = Json::array();
    for (const std::string& name : archived.references) {
        const auto reference = oci::Reference::parse(name);
        tags.push_back(reference ? reference.value().familiar() : name);
    }
    Json layers = Json::array();
    for (const OutBlob& layer : archived.image.layers) layers.push_back(blob_name(layer.digest));
    images.push_back({{"Config", blob_name(sha256(archived.image.config))},
                      {"RepoTags", tags.empty() ? Json() : std::move(tags)},
                      {"Layers", std::move(layers)}});
}

}  // namespace

Status write_archive(ArchiveFormat format, std::span<const ArchivedImage> images,
                     const TarSink& sink) {
    Archive archive(sink);
    TRY(archive.file("oci-layout", R"({"imageLayoutVersion":"1.0.0"})"));
    TRY(archive.folder("blobs/"));
    TRY(archive.folder("blobs/sha256/"));
    Json manifests = Json::array();
    Json docker = Json::array();
    for (const ArchivedImage& archived : images) {
        TRY(archive.blob(archived.image.config));
        TRY(archive.blob(archived.image.manifest));
        for (const OutBlob& layer : archived.image.layers) {
            TRY(archive.layer(layer));
        }
        add_to_index(archived, manifests);
        add_to_docker_manifest(archived, docker);
    }
    const Json index{{"schemaVersion", 2},
                     {"mediaType", "application/vnd.oci.image.index.v1+json"},
                     {"manifests", std::move(manifests)}};
    TRY(archive.file("index.json", index.dump()));
    if (format == ArchiveFormat::kDocker) {
        TRY(archive.file("manifest.json", docker.dump()));
    }
    return archive.finish();
}

}  // namespace drupe::imagefs
