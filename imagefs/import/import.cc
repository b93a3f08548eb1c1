#include "imagefs/import/import.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <sys/stat.h>

#include <algorithm>

#include "imagefs/ext4/format.h"
#include "imagefs/import/builtin_image.h"
#include "imagefs/import/chain_lock.h"
#include "imagefs/import/disk_device.h"
#include "imagefs/import/layer_import.h"
#include "imagefs/import/tar_stream.h"
#include "imagefs/oci/decompress.h"
#include "imagefs/oci/image_config.h"
#include "imagefs/oci/image_source.h"
#include "imagefs/oci/reference.h"
#include "imagefs/store/blobs.h"
#include "imagefs/store/sha256.h"
#include "imagefs/store/store_files.h"

namespace drupe::imagefs {
namespace {

/// How often a layer's blob may turn out wrong and come again.
constexpr int kMaxReplacements = 8;

/// Carries one image into a store, layer by layer.
class Importer {
  public:
    Importer(Store& store, const ImportOptions& options, const ImportCallback& callback)
        : store_(store), options_(options), callback_(callback) {}

    Result<ImageSummary> import(const oci::SourceImage& image) {
        ImageSummary summary;
        summary.id = image.id;
        summary.layers = image.layers.size();
        TRY_ASSIGN(summary.chain_id, ensure_layer0(store_));
        for (size_t i = 0; i < image.layers.size(); ++i) {
            auto chain = add_layer(summary, image.layers[i], i);
            if (!chain) {
                return std::move(chain).error().wrap(
                    fmt::format("layer {} of {}", i + 1, image.layers.size()));
            }
            summary.chain_id = chain.value();
        }
        summary.references = image.references;
        if (!options_.reference.empty()) {
            TRY_ASSIGN(const auto reference, oci::Reference::parse(options_.reference));
            summary.references = {reference.canonical()};
        }
        if (image.manifest && !image.manifest_text.empty()) {
            TRY(put_manifest(store_, *image.manifest,
                             {image.manifest_media_type, image.manifest_text}));
        }
        TRY(publish(summary, image.config.raw, image.manifest.value_or(Digest{})));
        return summary;
    }

    Result<ImageSummary> import_tar(ByteSource& tar, uint64_t size, bool size_is_exact,
                                    const std::function<std::string(const Digest&)>& config) {
        ImageSummary summary;
        summary.layers = 1;
        TRY_ASSIGN(const ChainId layer0, ensure_layer0(store_));
        LayerInput input{tar, std::nullopt, size, size_is_exact, std::nullopt};
        ImportProgress progress{.layers = 1, .total_bytes = size_is_exact ? size : 0};
        TRY_ASSIGN(TmpFile copy, TmpFile::create(store_.tmp_dir()));
        input.copy_fd = copy.fd();
        TRY_ASSIGN(LayerBuilder builder, store_.begin_layer(layer0));
        TRY_ASSIGN(const LayerResult result, build_layer(builder, input, options_.limits,
                                                         options_.expansion, reporter(progress)));
        progress.diff_id = result.diff_id;
        summary.content_bytes = result.stats.content_bytes;
        TRY(keep(result, result.media_type, std::move(copy)));
        TRY_ASSIGN(summary.chain_id, store_.publish_layer(std::move(builder), result.diff_id));
        report_done(progress);
        const std::string text = config(result.diff_id);
        summary.id = sha256(text);
        if (!options_.reference.empty()) {
            TRY_ASSIGN(const auto reference, oci::Reference::parse(options_.reference));
            summary.references = {reference.canonical()};
        }
        TRY(publish(summary, text, Digest{}));
        return summary;
    }

  private:
    Result<ChainId> add_layer(ImageSummary& summary, const oci::SourceLayer& layer, size_t number) {
        const ChainId chain_id = child_chain_id(summary.chain_id, layer.diff_id);
        ImportProgress progress{.layer = number,
                                .layers = summary.layers,
                                .diff_id = layer.diff_id,
                                .total_bytes = layer.size};
        std::optional<ChainLock> lock;
        TRY_ASSIGN(bool known, store_.has_layer(chain_id));
        if (!known) {
            TRY_ASSIGN(ChainLock taken, ChainLock::take(store_, chain_id));
            lock.emplace(std::move(taken));
            TRY_ASSIGN(known, store_.has_layer(chain_id));
        }
        if (known) {
            ++summary.layers_reused;
            progress.reused = true;
            TRY(add_sources(layer));
            TRY(keep_if_needed(layer, progress));
            report_done(progress);
            return chain_id;
        }
        for (int i = 0;; ++i) {
            const Status made = make_layer(summary, layer, progress);
            if (made) break;
            if (i >= kMaxReplacements || !layer.was_replaced || !layer.was_replaced()) {
                return made.error();
            }
        }
        report_done(progress);
        return chain_id;
    }

    Status make_layer(ImageSummary& summary, const oci::SourceLayer& layer,
                      const ImportProgress& progress) {
        TRY_ASSIGN(const oci::ByteSourcePtr blob, layer.open());
        LayerInput input{*blob, layer.blob, layer.size, true, layer.diff_id};
        std::optional<TmpFile> copy;
        if (layer.sources.empty()) {
            TRY_ASSIGN(TmpFile file, TmpFile::create(store_.tmp_dir()));
            input.copy_fd = file.fd();
            copy.emplace(std::move(file));
        }
        TRY_ASSIGN(LayerBuilder builder, store_.begin_layer(summary.chain_id));
        TRY_ASSIGN(const LayerResult result, build_layer(builder, input, options_.limits,
                                                         options_.expansion, reporter(progress)));
        summary.content_bytes += result.stats.content_bytes;
        const std::string type = layer.media_type.empty() ? result.media_type : layer.media_type;
        if (copy) {
            TRY(keep(result, type, std::move(*copy)));
        } else {
            TRY(record_blob(store_, layer.diff_id,
                            {result.blob_digest, result.blob_bytes, type, false, layer.sources}));
        }
        TRY(store_.publish_layer(std::move(builder), layer.diff_id));
        return ok();
    }

    Status keep(const LayerResult& result, const std::string& media_type, TmpFile file) {
        return keep_blob(store_, result.diff_id,
                         {result.blob_digest, result.blob_bytes, media_type, true, {}},
                         std::move(file));
    }

    /// Of a layer that is there. What blob it is is believed only if it was checked before.
    Status add_sources(const oci::SourceLayer& layer) {
        if (!layer.blob || layer.sources.empty()) return ok();
        TRY_ASSIGN(const std::vector<BlobRecord> blobs, blobs_of(store_, layer.diff_id));
        for (const BlobRecord& blob : blobs) {
            if (blob.digest != *layer.blob) continue;
            BlobRecord more = blob;
            more.sources = layer.sources;
            TRY(record_blob(store_, layer.diff_id, more));
        }
        return ok();
    }

    /// Of a layer that is there, too: it may have come from a machine, or its blob was pruned.
    /// Without one it couldn't be pushed with the digest that this image names.
    Status keep_if_needed(const oci::SourceLayer& layer, const ImportProgress& progress) {
        if (!layer.sources.empty()) return ok();
        TRY_ASSIGN(const std::vector<BlobRecord> blobs, blobs_of(store_, layer.diff_id));
        const auto is_there = [&](const BlobRecord& blob) {
            return (blob.kept || !blob.sources.empty()) &&
                   (!layer.blob || blob.digest == *layer.blob);
        };
        if (std::any_of(blobs.begin(), blobs.end(), is_there)) return ok();
        TRY_ASSIGN(const oci::ByteSourcePtr blob, layer.open());
        TRY_ASSIGN(TmpFile copy, TmpFile::create(store_.tmp_dir()));
        const LayerInput input{*blob, layer.blob, layer.size, true, layer.diff_id, copy.fd()};
        TRY_ASSIGN(const LayerResult result,
                   check_layer(input, options_.limits, options_.expansion, reporter(progress)));
        return keep(result, layer.media_type.empty() ? result.media_type : layer.media_type,
                    std::move(copy));
    }

    Status publish(const ImageSummary& summary, const std::string& config, const Digest& manifest) {
        TRY(store_.put_image({.id = summary.id,
                              .config = config,
                              .chain_id = summary.chain_id,
                              .manifest = manifest,
                              .tags = {}}));
        for (const std::string& reference : summary.references) {
            TRY(store_.tag(reference, summary.id));
        }
        return ok();
    }

    std::function<void(uint64_t)> reporter(const ImportProgress& start) const {
        if (!callback_) return {};
        return [this, progress = start](uint64_t bytes) mutable {
            progress.bytes = bytes;
            callback_(progress);
        };
    }
    void report_done(ImportProgress progress) const {
        progress.bytes = progress.total_bytes;
        progress.done = true;
        if (callback_) callback_(progress);
    }

    Store& store_;
    const ImportOptions& options_;
    const ImportCallback& callback_;
};

/// The tar in an archive that is bzip2 or xz: no layer is either, so it becomes a plain one.
class UnpackedTar final : public ByteSource {
  public:
    static Result<oci::ByteSourcePtr> open(oci::ByteSourcePtr packed) {
        TRY_ASSIGN(oci::Decompressor plain, oci::make_archive_decompressor(*packed));
        return oci::ByteSourcePtr(
            std::make_unique<UnpackedTar>(std::move(packed), std::move(plain.source)));
    }
    UnpackedTar(oci::ByteSourcePtr packed, oci::ByteSourcePtr plain)
        : packed_(std::move(packed)), plain_(std::move(plain)) {}
    Result<size_t> read(std::span<std::byte> out) override { return plain_->read(out); }

  private:
    oci::ByteSourcePtr packed_;  ///< Which plain_ reads.
    oci::ByteSourcePtr plain_;
};

struct OpenedRootfs {
    oci::ByteSourcePtr tar;
    uint64_t size = 0;
    bool size_is_exact = false;
};

Result<bool> is_bzip2_or_xz(int file, uint64_t size) {
    std::vector<std::byte> magic(std::min<uint64_t>(size, oci::kArchiveMagicBytes));
    TRY(read_exact(file, magic, 0));
    return oci::is_compressed_archive(magic) && !oci::is_compressed(magic);
}

Result<OpenedRootfs> open_rootfs(const std::string& path, const ImportOptions& options) {
    TRY_ASSIGN(Fd file, open_file(path, O_RDONLY | O_NONBLOCK));
    struct stat info {};
    if (fstat(file.get(), &info) != 0) return os_error(path);
    OpenedRootfs rootfs;
    if (S_ISDIR(info.st_mode)) {
        TRY_ASSIGN(rootfs.tar, open_folder_tar(path));
        rootfs.size = options.limits.max_content_bytes;
    } else if (S_ISREG(info.st_mode)) {
        rootfs.size = static_cast<uint64_t>(info.st_size);
        TRY_ASSIGN(const bool packed, is_bzip2_or_xz(file.get(), rootfs.size));
        rootfs.size_is_exact = !packed;
        rootfs.tar = oci::make_file_source(std::move(file), 0, rootfs.size);
        if (packed) {
            TRY_ASSIGN(rootfs.tar, UnpackedTar::open(std::move(rootfs.tar)));
            rootfs.size = std::min(options.expansion.max_bytes(rootfs.size),
                                   options.limits.max_content_bytes);
        }
    } else {
        return Error{ErrorCode::kInvalid, path + " is neither a tar file nor a folder"};
    }
    return rootfs;
}

}  // namespace

Result<ChainId> ensure_layer0(Store& store) {
    const ChainId chain_id = root_chain_id(ext4::kFormatterName);
    TRY_ASSIGN(const bool known, store.has_layer(chain_id));
    if (known) return chain_id;
    TRY_ASSIGN(LayerBuilder builder, store.begin_root(ext4::kVirtualBlocks));
    DiskDevice device(builder.disk());
    TRY(ext4::format_layer0(device));
    TRY(store.publish_root(std::move(builder), chain_id));
    return chain_id;
}

Result<ImageSummary> import_image(Store& store, const oci::SourceImage& image,
                                  const ImportOptions& options, const ImportCallback& progress) {
    return Importer(store, options, progress).import(image);
}

Result<std::vector<ImageSummary>> import_images(Store& store, const std::string& path,
                                                const ImportOptions& options,
                                                const ImportCallback& progress) {
    TRY_ASSIGN(const oci::ImageSource source, oci::ImageSource::open(path, store.tmp_dir()));
    if (!options.reference.empty() && source.images().size() > 1) {
        return Error{ErrorCode::kInvalid,
                     fmt::format("{} holds {} images; one name can't be given to all of them", path,
                                 source.images().size())};
    }
    TRY_ASSIGN(const Fd lease, store.lease());
    std::vector<ImageSummary> summaries;
    for (const oci::SourceImage& image : source.images()) {
        auto summary = import_image(store, image, options, progress);
        if (!summary) return std::move(summary).error().wrap(path);
        summaries.push_back(std::move(summary).value());
    }
    return summaries;
}

Result<ImageSummary> import_rootfs(Store& store, const std::string& path,
                                   const ImportOptions& options, const ImportCallback& progress) {
    TRY_ASSIGN(const OpenedRootfs rootfs, open_rootfs(path, options));
    TRY_ASSIGN(const Fd lease, store.lease());
    const auto config = [](const Digest& diff_id) {
        return oci::make_config(
            diff_id, {"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}, {}, "");
    };
    auto summary = Importer(store, options, progress)
                       .import_tar(*rootfs.tar, rootfs.size, rootfs.size_is_exact, config);
    if (!summary) return std::move(summary).error().wrap(path);
    return summary;
}

Result<ImageSummary> import_builtin_busybox(Store& store, const std::string& busybox_path) {
    TRY_ASSIGN(std::string tar, make_busybox_tar(busybox_path));
    TRY_ASSIGN(const Fd lease, store.lease());
    const Digest diff_id = sha256(tar);
    ImportOptions options;
    options.reference = "busybox";
    oci::SourceImage image;
    TRY_ASSIGN(image.config,
               oci::ImageConfig::parse(oci::make_config(
                   diff_id, {"PATH=/bin:/sbin:/usr/bin:/usr/sbin"}, {"sh"}, "built in")));
    image.id = sha256(image.config.raw);
    const uint64_t size = tar.size();
    const auto shared = std::make_shared<const std::string>(std::move(tar));
    oci::SourceLayer layer;
    layer.diff_id = diff_id;
    layer.size = size;
    layer.open = [shared]() -> Result<oci::ByteSourcePtr> {
        return oci::make_memory_source(*shared);
    };
    image.layers.push_back(std::move(layer));
    return Importer(store, options, {}).import(image);
}

}  // namespace drupe::imagefs
