#include "imagefs/registry/blob_upload.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>

namespace drupe::imagefs::registry {
namespace {

constexpr uint64_t kChunkBytes = 8 << 20;
constexpr uint64_t kMaxChunkBytes = 256 << 20;

/// Tells how much of a body has been taken.
class CountedBody final : public ByteSource {
  public:
    CountedBody(oci::ByteSourcePtr inner, const std::function<void(uint64_t)>& on_bytes)
        : inner_(std::move(inner)), on_bytes_(on_bytes) {}
    Result<size_t> read(std::span<std::byte> out) override {
        TRY_ASSIGN(const size_t got, inner_->read(out));
        bytes_ += got;
        if (on_bytes_) on_bytes_(bytes_);
        return got;
    }

  private:
    oci::ByteSourcePtr inner_;
    const std::function<void(uint64_t)>& on_bytes_;
    uint64_t bytes_ = 0;
};

}  // namespace

Result<bool> BlobUpload::exists() {
    Request request;
    request.method = "HEAD";
    request.url = to_.url("blobs/" + blob_.digest.to_string());
    TRY_ASSIGN(Response response, to_.send_again(http_, request));
    if (response.ok()) return true;
    if (response.status == 404) return false;
    return status_error(response, "look for blob " + blob_.digest.to_string());
}

Result<std::optional<Url>> BlobUpload::begin(const std::string& mount_from) {
    Request request;
    request.method = "POST";
    request.url = to_.url("blobs/uploads/");
    if (!mount_from.empty()) {
        request.url.target += "?mount=" + percent_encode(blob_.digest.to_string()) +
                              "&from=" + percent_encode(mount_from);
    }
    TRY_ASSIGN(Response response, to_.send_again(http_, request));
    if (response.status == 201 && !mount_from.empty()) return std::optional<Url>();
    if (response.status != 202) {
        return status_error(response, "upload blob " + blob_.digest.to_string());
    }
    least_chunk_ = parse_number(response.headers.get("OCI-Chunk-Min-Length")).value_or(0);
    TRY_ASSIGN(Url upload, response.url.resolve(response.headers.get("Location")));
    if (!upload.tls && response.url.tls) {
        return Error{ErrorCode::kDenied,
                     fmt::format("{} wants blobs to be sent without TLS", to_.where())};
    }
    std::array<std::byte, 512> rest{};
    (void)response.body->read(rest);  // so that the connection can be used again
    return std::optional(std::move(upload));
}

Url BlobUpload::with_digest(Url upload) const {
    const bool has_query = upload.target.find('?') != std::string::npos;
    upload.target +=
        (has_query ? "&digest=" : "?digest=") + percent_encode(blob_.digest.to_string());
    return upload;
}

Status BlobUpload::finish(const Response& response) const {
    const auto stored = Digest::parse(response.headers.get("Docker-Content-Digest"));
    if (!stored || stored.value() == blob_.digest) return ok();
    return Error{ErrorCode::kCorrupt,
                 fmt::format("{} has stored blob {} as {}", to_.where(), blob_.digest.to_string(),
                             stored.value().to_string())};
}

Status BlobUpload::send(const Url& upload) {
    Request request;
    request.method = "PUT";
    request.url = with_digest(upload);
    request.headers.add("Content-Type", "application/octet-stream");
    request.body_bytes = blob_.size;
    request.body = [this]() -> Result<oci::ByteSourcePtr> {
        TRY_ASSIGN(auto source, blob_.open());
        return oci::ByteSourcePtr(std::make_unique<CountedBody>(std::move(source), on_bytes_));
    };
    TRY_ASSIGN(Response response, to_.send(http_, request));
    if (response.ok()) return finish(response);
    if (response.status == 413 || response.status == 405) {
        // Too much at once, or not this way. The upload may be lost with it: another one.
        TRY_ASSIGN(const auto again, begin(""));
        return send_chunks(*again);
    }
    Error error = status_error(response, "upload blob " + blob_.digest.to_string());
    if (!is_transient(response.status) && is_transient(error)) error.code = ErrorCode::kInvalid;
    return error;
}

Status BlobUpload::send_chunks(Url upload) {
    TRY_ASSIGN(auto source, blob_.open());
    CountedBody counted(std::move(source), on_bytes_);
    const uint64_t most = std::clamp(least_chunk_, kChunkBytes, kMaxChunkBytes);
    for (uint64_t at = 0; at < blob_.size;) {
        std::string chunk(std::min(most, blob_.size - at), '\0');
        for (size_t filled = 0; filled < chunk.size();) {
            TRY_ASSIGN(const size_t got,
                       counted.read(std::as_writable_bytes(std::span(chunk).subspan(filled))));
            if (got == 0) return Error{ErrorCode::kCorrupt, "what is sent ends too early"};
            filled += got;
        }
        Request request;
        request.method = "PATCH";
        request.url = upload;
        request.headers.add("Content-Type", "application/octet-stream");
        request.headers.add("Content-Range", fmt::format("{}-{}", at, at + chunk.size() - 1));
        request.body_bytes = chunk.size();
        at += chunk.size();
        request.body = [chunk = std::move(chunk)]() -> Result<oci::ByteSourcePtr> {
            return oci::make_memory_source(chunk);
        };
        TRY_ASSIGN(Response response, to_.send(http_, std::move(request)));
        if (!response.ok()) {
            return status_error(response, "upload blob " + blob_.digest.to_string());
        }
        const std::string_view next = response.headers.get("Location");
        if (!next.empty()) {
            TRY_ASSIGN(upload, response.url.resolve(next));
        }
    }
    Request request;
    request.method = "PUT";
    request.url = with_digest(upload);
    TRY_ASSIGN(Response response, to_.send(http_, std::move(request)));
    if (response.ok()) return finish(response);
    return status_error(response, "upload blob " + blob_.digest.to_string());
}

Result<Uploaded> BlobUpload::run(const std::vector<std::string>& mounts) {
    TRY_ASSIGN(const bool there, exists());
    if (there) return Uploaded::kExisted;
    std::optional<Url> upload;
    for (const std::string& from : mounts) {
        TRY_ASSIGN(upload, begin(from));
        mounted_from_ = from;
        if (!upload) return Uploaded::kMounted;
    }
    Backoff backoff(to_.session().retry, http_.limits().stop);
    for (;;) {
        if (!upload) {
            TRY_ASSIGN(upload, begin(""));
        }
        Status sent = send(*upload);
        if (sent) return Uploaded::kSent;
        upload.reset();  // whatever it has of it: once more from the start
        if (!is_transient(sent.error()) || !backoff.wait()) return std::move(sent).error();
    }
}

}  // namespace drupe::imagefs::registry
