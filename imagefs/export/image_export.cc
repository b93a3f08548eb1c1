#include "imagefs/export/image_export.h"

#include <fmt/core.h>

#include <algorithm>
#include <utility>

#include "imagefs/export/layer_blob.h"
#include "imagefs/oci/byte_sources.h"
#include "imagefs/oci/json.h"
#include "imagefs/oci/manifest.h"
#include "imagefs/store/sha256.h"

namespace drupe::imagefs {
namespace {

constexpr std::string_view kConfigType = "application/vnd.oci.image.config.v1+json";
constexpr std::string_view kManifestType = "application/vnd.oci.image.manifest.v1+json";

bool is_available(const BlobRecord& record, const BlobFetcher& refetch) {
    return record.kept || (refetch && !record.sources.empty());
}

OutBlob out_blob(Store& store, const BlobRecord& record, const std::string& media_type,
                 const BlobFetcher& refetch) {
    auto open = [&store, record, refetch]() -> Result<std::unique_ptr<ByteSource>> {
        if (!record.kept) return refetch(record);
        TRY_ASSIGN(Fd file, open_blob(store, record.digest));
        return oci::make_file_source(std::move(file), 0, record.size);
    };
    return {record.digest, record.size, media_type, std::move(open)};
}

constexpr std::string_view kLayerType = "application/vnd.oci.image.layer.v1.tar+gzip";

/// A blob for a layer that has none. Of a layer whose diffID is known already it may be another tar
/// of the same files; that isn't kept.
Result<OutBlob> make_blob(Store& store, const LayerRecord& layer, const OpenLayerTar& open_tar,
                          Digest& diff_id) {
    TRY_ASSIGN(auto file, TmpFile::create(store.tmp_dir()));
    TRY_ASSIGN(const auto tar, open_tar(*layer.parent, layer.chain_id));
    TRY_ASSIGN(const LayerBlob made, compress_layer(*tar, file.fd()));
    diff_id = made.diff_id;
    BlobRecord record;
    record.digest = made.digest;
    record.size = made.size;
    record.media_type = kLayerType;
    record.kept = true;
    if (layer.diff_id.is_null() || layer.diff_id == made.diff_id) {
        TRY(keep_blob(store, made.diff_id, record, std::move(file)));
        if (layer.diff_id.is_null()) {
            TRY(store.set_diff_id(layer.chain_id, made.diff_id));
        }
        return out_blob(store, record, record.media_type, {});
    }
    const auto shared = std::make_shared<TmpFile>(std::move(file));
    return OutBlob{record.digest, record.size, record.media_type,
                   [shared, record]() -> Result<std::unique_ptr<ByteSource>> {
                       TRY_ASSIGN(Fd again, shared->duplicate());
                       return oci::make_file_source(std::move(again), 0, record.size);
                   }};
}

Result<OutBlob> blob_of(Store& store, const LayerRecord& layer, const BlobFetcher& refetch,
                        const OpenLayerTar& open_tar, Digest& diff_id) {
    if (!layer.diff_id.is_null()) {
        TRY_ASSIGN(const std::vector<BlobRecord> blobs, blobs_of(store, layer.diff_id));
        const auto blob = std::find_if(blobs.begin(), blobs.end(), [&](const BlobRecord& record) {
            return is_available(record, refetch);
        });
        if (blob != blobs.end()) {
            diff_id = layer.diff_id;
            return out_blob(store, *blob, blob->media_type, refetch);
        }
    }
    if (open_tar) return make_blob(store, layer, open_tar, diff_id);
    return Error{ErrorCode::kUnsupported,
                 fmt::format("the blob of layer {} isn't kept, and no registry is known to have it",
                             layer.diff_id.is_null() ? layer.chain_id.to_string()
                                                     : layer.diff_id.to_string())};
}

/// The image's config with the layers that it really has, and as many steps in its history.
Result<std::string> config_with(const Image& image, const std::vector<Digest>& diff_ids) {
    TRY(oci::parse_json(image.config, "image config"));  // its limits
    // Members stay in their order.
    auto config = nlohmann::ordered_json::parse(image.config, nullptr, false);
    if (!config.is_object() || (config.contains("history") && !config["history"].is_array())) {
        return Error{ErrorCode::kInvalid, "image config: not what a config looks like"};
    }
    auto list = nlohmann::ordered_json::array();
    for (const Digest& diff_id : diff_ids) list.push_back(diff_id.to_string());
    const nlohmann::ordered_json rootfs{{"type", "layers"}, {"diff_ids", std::move(list)}};
    if (config.contains("rootfs") && config["rootfs"] == rootfs) return image.config;
    config["rootfs"] = rootfs;
    auto& history = config["history"];
    if (!history.is_array()) history = nlohmann::ordered_json::array();
    const auto steps = std::count_if(history.begin(), history.end(), [](const auto& step) {
        return !step.is_object() || !step.value("empty_layer", false);
    });
    for (auto i = static_cast<size_t>(steps); i < diff_ids.size(); ++i) {
        history.push_back({{"created_by", "drupe commit"}});
    }
    return config.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

/// The image by the manifest it came with; false if that or a blob of it isn't to be had.
Result<bool> as_it_came(Store& store, const Image& image, const BlobFetcher& refetch,
                        OutImage& out) {
    if (image.manifest.is_null()) return false;
    TRY_ASSIGN(const auto kept, find_manifest(store, image.manifest));
    if (!kept) return false;
    TRY_ASSIGN(const oci::Manifest manifest, oci::Manifest::parse(kept->body));
    if (manifest.config.digest != image.id || manifest.layers.size() != out.diff_ids.size()) {
        return false;
    }
    std::vector<OutBlob> layers;
    for (const oci::Descriptor& layer : manifest.layers) {
        TRY_ASSIGN(const auto record, find_blob(store, layer.digest));
        if (!record || !is_available(*record, refetch)) return false;
        layers.push_back(out_blob(store, *record, layer.media_type, refetch));
    }
    out.config_media_type = manifest.config.media_type;
    out.manifest = kept->body;
    out.manifest_media_type = kept->media_type;
    out.layers = std::move(layers);
    return true;
}

std::string make_manifest(const std::string& config, const std::vector<OutBlob>& layers) {
    const auto descriptor = [](std::string_view type, const Digest& digest, uint64_t size) {
        return oci::Json{{"mediaType", type}, {"digest", digest.to_string()}, {"size", size}};
    };
    oci::Json list = oci::Json::array();
    for (const OutBlob& layer : layers) {
        list.push_back(descriptor(layer.media_type, layer.digest, layer.size));
    }
    const oci::Json manifest{{"schemaVersion", 2},
                             {"mediaType", kManifestType},
                             {"config", descriptor(kConfigType, sha256(config), config.size())},
                             {"layers", std::move(list)}};
    return manifest.dump();
}

}  // namespace

Status make_blobs(Store& store, const Image& image, const OpenLayerTar& open_tar) {
    TRY_ASSIGN(const Fd lease, store.lease());
    TRY_ASSIGN(const std::vector<LayerRecord> chain, store.chain(image.chain_id));
    for (const LayerRecord& layer : chain) {
        if (!layer.parent || !layer.diff_id.is_null()) continue;
        Digest diff_id;
        TRY(make_blob(store, layer, open_tar, diff_id));
    }
    return ok();
}

Result<OutImage> prepare_image(Store& store, const Image& image, const BlobFetcher& refetch,
                               const OpenLayerTar& open_tar) {
    OutImage out;
    TRY_ASSIGN(const Fd lease, store.lease());  // what is made is not yet anybody's
    TRY_ASSIGN(const std::vector<LayerRecord> chain, store.chain(image.chain_id));
    for (const LayerRecord& layer : chain) {
        if (layer.parent) out.diff_ids.push_back(layer.diff_id);
    }
    out.config = image.config;
    TRY_ASSIGN(const bool found, as_it_came(store, image, refetch, out));
    if (found) return out;
    // Bottom first: a layer's diffID can only be known when those below it are.
    out.diff_ids.clear();
    for (const LayerRecord& layer : chain) {
        if (!layer.parent) continue;
        Digest diff_id;
        TRY_ASSIGN(OutBlob blob, blob_of(store, layer, refetch, open_tar, diff_id));
        out.layers.push_back(std::move(blob));
        out.diff_ids.push_back(diff_id);
    }
    TRY_ASSIGN(out.config, config_with(image, out.diff_ids));
    out.config_media_type = kConfigType;
    out.manifest = make_manifest(out.config, out.layers);
    out.manifest_media_type = kManifestType;
    return out;
}

}  // namespace drupe::imagefs
