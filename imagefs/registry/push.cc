#include "imagefs/registry/push.h"

#include <fmt/core.h>

#include <algorithm>
#include <atomic>
#include <map>
#include <thread>

#include "base/mutex.h"
#include "imagefs/export/image_export.h"
#include "imagefs/registry/blob_reader.h"
#include "imagefs/registry/blob_upload.h"
#include "imagefs/store/blobs.h"
#include "imagefs/store/sha256.h"

namespace drupe::imagefs::registry {
namespace {

constexpr size_t kParallel = 5;  // as Docker
constexpr size_t kMaxMounts = 3;

/// A blob that isn't kept, from where it once came from. Owns all that reading it takes.
class Refetched final : public ByteSource {
  public:
    Refetched(const Session& session, Repositories from, const BlobRecord& record)
        : from_(std::move(from)),
          http_(session.config, session.limits),
          reader_(from_, 0, http_, descriptor(record), 0) {}
    Result<size_t> read(std::span<std::byte> out) override { return reader_.read(out); }

  private:
    static oci::Descriptor descriptor(const BlobRecord& record) {
        return {record.media_type, record.digest, record.size, {}, {}};
    }
    Repositories from_;
    HttpClient http_;
    BlobReader reader_;
};

struct Source {
    std::string registry;
    std::string repository;
};
Source split(const std::string& source) {
    const size_t slash = source.find('/');
    return {source.substr(0, slash), source.substr(slash + 1)};
}

Result<std::unique_ptr<ByteSource>> refetch(const Session& session, const BlobRecord& record) {
    Error last{ErrorCode::kNotFound,
               fmt::format("no registry is known to have blob {}", record.digest.to_string())};
    for (const std::string& source : record.sources) {
        const Source place = split(source);
        auto from = open_for_pull(session, place.registry, place.repository);
        if (!from) {
            last = std::move(from).error();
            continue;
        }
        // Whether it still has it shows only when it is asked.
        HttpClient http(session.config, session.limits);
        Request request;
        request.method = "HEAD";
        request.url = from.value().back()->url("blobs/" + record.digest.to_string());
        auto answer = from.value().back()->send_again(http, request);
        if (answer && answer.value().ok()) {
            return std::unique_ptr<ByteSource>(
                std::make_unique<Refetched>(session, std::move(from).value(), record));
        }
        last = answer ? status_error(answer.value(), "blob " + record.digest.to_string())
                      : std::move(answer).error();
    }
    return std::move(last).wrap("fetch a layer's blob again");
}

/// Sends what an image consists of, several blobs at a time.
class Push {
  public:
    Push(const Session& session, Repository& to, const LayerReport& report)
        : session_(session), to_(to), report_(report) {}

    /// mounts: by blob, the repositories of that registry that have it.
    Status send(const std::vector<OutBlob>& blobs,
                const std::map<Digest, std::vector<std::string>>& mounts) {
        for (const OutBlob& blob : blobs) say(blob, "Preparing");
        const auto work = [&] {
            HttpLimits limits = session_.limits;
            limits.stop = &stop_;
            HttpClient http(session_.config, limits);
            for (size_t i = next_.fetch_add(1); i < blobs.size() && !stop_.load();
                 i = next_.fetch_add(1)) {
                const auto found = mounts.find(blobs[i].digest);
                Status sent =
                    send_one(http, blobs[i],
                             found == mounts.end() ? std::vector<std::string>() : found->second);
                if (!sent) fail(std::move(sent).error());
            }
        };
        std::vector<std::thread> threads;
        for (size_t i = 0; i < std::min(kParallel, blobs.size()); ++i) threads.emplace_back(work);
        for (std::thread& thread : threads) thread.join();
        const MutexLock lock(mutex_);
        return outcome_;
    }

    Result<Digest> put_manifest(const OutImage& image, const std::string& name) {
        HttpClient http(session_.config, session_.limits);
        const Digest digest = sha256(image.manifest);
        Request request;
        request.method = "PUT";
        request.url = to_.url("manifests/" + name);
        request.headers.add("Content-Type", image.manifest_media_type);
        request.body_bytes = image.manifest.size();
        request.body = [&]() -> Result<oci::ByteSourcePtr> {
            return oci::make_memory_source(image.manifest);
        };
        TRY_ASSIGN(Response response, to_.send_again(http, request));
        if (!response.ok()) return status_error(response, "upload the manifest");
        const auto stored = Digest::parse(response.headers.get("Docker-Content-Digest"));
        if (stored && stored.value() != digest) {
            return Error{ErrorCode::kCorrupt,
                         fmt::format("{} has stored the manifest as {}, not {}", to_.where(),
                                     stored.value().to_string(), digest.to_string())};
        }
        return digest;
    }

  private:
    Status send_one(HttpClient& http, const OutBlob& blob, const std::vector<std::string>& mounts) {
        BlobUpload upload(to_, http, blob,
                          [&](uint64_t bytes) { say(blob, "Pushing", bytes, blob.size); });
        TRY_ASSIGN(const Uploaded how, upload.run(mounts));
        switch (how) {
            case Uploaded::kSent:
                say(blob, "Pushed");
                break;
            case Uploaded::kMounted:
                say(blob, "Mounted from " + upload.mounted_from());
                break;
            case Uploaded::kExisted:
                say(blob, "Layer already exists");
                break;
        }
        return ok();
    }
    void fail(Error error) {
        const MutexLock lock(mutex_);
        if (outcome_) outcome_ = std::move(error);  // the first; the others are of being stopped
        stop_ = true;
    }
    void say(const OutBlob& blob, const std::string& state, uint64_t bytes = 0,
             uint64_t total = 0) {
        const MutexLock lock(report_mutex_);
        if (report_ && !blob.media_type.empty()) report_({blob.digest, state, bytes, total});
    }

    const Session& session_;
    Repository& to_;
    const LayerReport& report_;
    std::atomic<size_t> next_ = 0;
    std::atomic<bool> stop_ = false;
    Mutex report_mutex_;
    Mutex mutex_;
    Status outcome_ DRUPE_GUARDED_BY(mutex_) = ok();
};

/// Other repositories of a registry that are known to have an image's blobs.
Result<std::map<Digest, std::vector<std::string>>> find_mounts(Store& store, const OutImage& image,
                                                               const oci::Reference& reference) {
    std::map<Digest, std::vector<std::string>> mounts;
    for (const OutBlob& blob : image.layers) {
        TRY_ASSIGN(const auto record, find_blob(store, blob.digest));
        if (!record) continue;
        for (const std::string& source : record->sources) {
            const Source place = split(source);
            auto& list = mounts[blob.digest];
            if (place.registry == reference.registry && place.repository != reference.repository &&
                list.size() < kMaxMounts) {
                list.push_back(place.repository);
            }
        }
    }
    return mounts;
}

/// Blobs that occur twice are sent once. The config goes with them, unreported.
std::vector<OutBlob> all_blobs(const OutImage& image) {
    std::vector<OutBlob> blobs;
    for (const OutBlob& layer : image.layers) {
        const bool again = std::any_of(blobs.begin(), blobs.end(), [&](const OutBlob& blob) {
            return blob.digest == layer.digest;
        });
        if (!again) blobs.push_back(layer);
    }
    blobs.push_back({sha256(image.config), image.config.size(), "",
                     [&image]() -> Result<std::unique_ptr<ByteSource>> {
                         return oci::make_memory_source(image.config);
                     }});
    return blobs;
}

}  // namespace

Result<PushResult> push(Store& store, const Session& session, const Image& image,
                        const oci::Reference& reference, const LayerReport& report) {
    TRY_ASSIGN(const Fd lease, store.lease());
    TRY_ASSIGN(const OutImage out, prepare_image(store, image, [&](const BlobRecord& record) {
                   return refetch(session, record);
               }));
    TRY_ASSIGN(const auto mounts, find_mounts(store, out, reference));
    TRY_ASSIGN(const auto to, Repository::open(session, reference.registry, reference.repository,
                                               Repository::Access::kPush));
    // A right to mount is a right to read the other repository.
    for (const auto& [digest, repositories] : mounts) {
        for (const std::string& name : repositories) to->add_scope("repository:" + name + ":pull");
    }
    Push work(session, *to, report);
    TRY(work.send(all_blobs(out), mounts));
    const std::string name =
        reference.tag.empty() ? sha256(out.manifest).to_string() : reference.tag;
    TRY_ASSIGN(const Digest digest, work.put_manifest(out, name));
    const std::string here = reference.registry + "/" + reference.repository;
    for (size_t i = 0; i < out.layers.size(); ++i) {
        const OutBlob& blob = out.layers[i];
        TRY(record_blob(store, out.diff_ids[i],
                        {blob.digest, blob.size, blob.media_type, false, {here}}));
    }
    return PushResult{digest, out.manifest.size()};
}

}  // namespace drupe::imagefs::registry
