#include "imagefs/registry/pull.h"

#include <fmt/core.h>

#include <map>

#include "base/mutex.h"
#include "imagefs/registry/downloads.h"
#include "imagefs/registry/remote_image.h"
#include "imagefs/store/sha256.h"

namespace drupe::imagefs::registry {
namespace {

/// One image on its way: which of its layers are fetched, and what has been said about each.
class Pull {
  public:
    Pull(Store& store, const Session& session, const Repositories& from, const RemoteImage& remote,
         const LayerReport& report)
        : store_(store), session_(session), from_(from), remote_(remote), report_(report) {}

    Result<ImageSummary> run(const std::string& source, const ImportOptions& options) {
        TRY_ASSIGN(std::vector<oci::Descriptor> missing, find_missing());
        TRY_ASSIGN(Store view, Store::open(store_.root()));  // A store belongs to one thread.
        Downloads downloads(
            session_, from_, store_.downloads_dir(), std::move(missing),
            [&](size_t index) -> Result<bool> {
                TRY_ASSIGN(const bool known, view.has_layer(chain_of_.at(index)));
                return !known;
            },
            [this](size_t index, Downloads::State state, uint64_t bytes) {
                said_by_download(layer_of_.at(index), state, bytes);
            });
        const oci::SourceImage image = source_image(source, downloads);
        return import_image(store_, image, options, [&](const ImportProgress& progress) {
            said_by_import(progress);
            const auto download = download_of_.find(progress.layer);
            if (progress.done && download != download_of_.end()) {
                downloads.release(download->second);
            }
        });
    }

  private:
    /// The blobs of layers that the store doesn't have.
    Result<std::vector<oci::Descriptor>> find_missing() {
        std::vector<oci::Descriptor> missing;
        TRY_ASSIGN(ChainId chain, ensure_layer0(store_));
        for (size_t i = 0; i < remote_.manifest.layers.size(); ++i) {
            chain = child_chain_id(chain, remote_.config.diff_ids[i]);
            TRY_ASSIGN(const bool known, store_.has_layer(chain));
            if (known) continue;
            download_of_[i] = missing.size();
            layer_of_[missing.size()] = i;
            chain_of_.push_back(chain);
            missing.push_back(remote_.manifest.layers[i]);
            say(i, "Pulling fs layer");
        }
        return missing;
    }

    oci::SourceImage source_image(const std::string& source, Downloads& downloads) const {
        oci::SourceImage image;
        image.id = remote_.manifest.config.digest;
        image.config = remote_.config;
        image.manifest = remote_.manifest_digest;
        image.manifest_text = remote_.manifest_text;
        image.manifest_media_type = remote_.manifest_media_type;
        for (size_t i = 0; i < remote_.manifest.layers.size(); ++i) {
            const oci::Descriptor& blob = remote_.manifest.layers[i];
            oci::SourceLayer layer;
            layer.diff_id = remote_.config.diff_ids[i];
            layer.blob = blob.digest;
            layer.size = blob.size;
            layer.media_type = blob.media_type;
            layer.sources = {source};
            const auto download = download_of_.find(i);
            if (download == download_of_.end()) {
                layer.open = [digest = blob.digest]() -> Result<oci::ByteSourcePtr> {
                    return Error{ErrorCode::kConflict,
                                 fmt::format("the layer of blob {} has been removed meanwhile",
                                             digest.to_string())};
                };
            } else {
                const size_t index = download->second;
                layer.open = [&downloads, index] { return downloads.open(index); };
                layer.was_replaced = [&downloads, index] { return downloads.was_replaced(index); };
            }
            image.layers.push_back(std::move(layer));
        }
        return image;
    }

    void said_by_download(size_t layer, Downloads::State state, uint64_t bytes) {
        const uint64_t total = remote_.manifest.layers[layer].size;
        switch (state) {
            case Downloads::State::kWaiting:
                return;
            case Downloads::State::kRunning:
                return say(layer, "Downloading", bytes, total);
            case Downloads::State::kVerifying:
                return say(layer, "Verifying Checksum");
            case Downloads::State::kComplete:
                return say(layer, "Download complete");
            case Downloads::State::kFailed:
                return;  // said as the error of it all
        }
    }
    void said_by_import(const ImportProgress& progress) {
        if (!progress.done) {
            return say(progress.layer, "Extracting", progress.bytes, progress.total_bytes);
        }
        say(progress.layer, progress.reused ? "Already exists" : "Pull complete");
    }
    void say(size_t layer, const char* state, uint64_t bytes = 0, uint64_t total = 0) {
        const MutexLock lock(mutex_);
        if (report_) report_({remote_.manifest.layers[layer].digest, state, bytes, total});
    }

    Store& store_;
    const Session& session_;
    const Repositories& from_;
    const RemoteImage& remote_;
    const LayerReport& report_;
    std::map<size_t, size_t> download_of_;  ///< By layer.
    std::map<size_t, size_t> layer_of_;     ///< By download.
    std::vector<ChainId> chain_of_;         ///< By download.
    Mutex mutex_;
};

}  // namespace

Result<PullResult> pull(Store& store, const Session& session, const oci::Reference& reference,
                        const ImportOptions& options, const LayerReport& report) {
    TRY_ASSIGN(const Repositories from,
               open_for_pull(session, reference.registry, reference.repository));
    HttpClient http(session.config, session.limits);
    auto remote = resolve(from, http, reference);
    if (!remote) return std::move(remote).error().wrap("pull " + reference.familiar());
    TRY_ASSIGN(const Fd lease, store.lease());
    const auto before = store.resolve(reference.canonical());
    ImportOptions named = options;
    named.reference = reference.canonical();
    Pull work(store, session, from, remote.value(), report);
    auto done = work.run(reference.registry + "/" + reference.repository, named);
    if (!done) return std::move(done).error().wrap("pull " + reference.familiar());
    return PullResult{done.value().id, remote.value().digest,
                      !before || before.value().id != done.value().id};
}

}  // namespace drupe::imagefs::registry
