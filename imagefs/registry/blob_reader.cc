#include "imagefs/registry/blob_reader.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>

namespace drupe::imagefs::registry {
namespace {

/// As much makes up for earlier failures: a server that gives a byte a connection won't go on for
/// ever.
constexpr uint64_t kProgressBytes = 256 << 10;

}  // namespace

BlobReader::BlobReader(const Repositories& from, size_t first, HttpClient& http,
                       oci::Descriptor blob, uint64_t offset)
    : from_(from),
      http_(http),
      blob_(std::move(blob)),
      offset_(offset),
      current_(first % from.size()),
      backoff_(from[current_]->session().retry, http.limits().stop) {}

Result<size_t> BlobReader::read(std::span<std::byte> out) {
    while (offset_ < blob_.size) {
        Status ready = body_ ? Status(ok()) : open();
        if (!ready) {
            TRY(recover(std::move(ready).error()));
            continue;
        }
        const size_t wanted = std::min<uint64_t>(out.size(), blob_.size - offset_);
        auto got = body_->read(out.first(wanted));
        if (got && got.value() > 0) {
            offset_ += got.value();
            progress_ += got.value();
            if (progress_ >= kProgressBytes) {
                progress_ = 0;
                backoff_.progress();
            }
            if (offset_ == blob_.size && is_sized_) {
                std::array<std::byte, 1> nothing{};
                (void)body_->read(nothing);  // its end: the connection is free again
            }
            return got.value();
        }
        body_.reset();
        TRY(recover(got ? Error{ErrorCode::kIo,
                                fmt::format("ends after {} of {} bytes", offset_, blob_.size)}
                        : std::move(got).error()));
    }
    return size_t{0};
}

Status BlobReader::open() {
    Repository& repository = *from_[current_];
    Request request;
    request.url = repository.url("blobs/" + blob_.digest.to_string());
    if (offset_ > 0) request.headers.add("Range", fmt::format("bytes={}-", offset_));
    TRY_ASSIGN(Response response, repository.send(http_, std::move(request)));
    return accept(std::move(response));
}

Status BlobReader::accept(Response response) {
    is_sized_ = !response.headers.get("Content-Length").empty();
    const Error wrong_size{ErrorCode::kCorrupt,
                           fmt::format("{} has another size than its descriptor's {}",
                                       response.url.authority(), blob_.size)};
    if (response.status == 206) {
        const auto range = parse_content_range(response.headers.get("Content-Range"));
        if (!range || range->first != offset_ || range->last >= blob_.size) {
            return Error{ErrorCode::kInvalid,
                         fmt::format("{} answers with another range than asked for",
                                     response.url.authority())};
        }
        if (range->total && *range->total != blob_.size) return wrong_size;
        body_ = std::move(response.body);
        return ok();
    }
    if (response.status != 200) {
        retry_after_s_ = retry_after_of(response.headers);
        const bool transient = is_transient(response.status);
        Error error = status_error(response, "get it");
        if (transient) error.code = ErrorCode::kIo;
        if (!transient && is_transient(error)) error.code = ErrorCode::kInvalid;
        return error;
    }
    const std::string_view length = response.headers.get("Content-Length");
    if (!length.empty() && parse_number(length) != blob_.size) return wrong_size;
    body_ = std::move(response.body);
    // It doesn't know ranges: what is here already comes again.
    Status skipped = skip(offset_);
    if (!skipped) body_.reset();
    return skipped;
}

Status BlobReader::skip(uint64_t bytes) {
    std::vector<std::byte> buffer(std::min<uint64_t>(bytes, 64 << 10));
    while (bytes > 0) {
        TRY_ASSIGN(const size_t got,
                   body_->read(std::span(buffer).first(std::min<uint64_t>(bytes, buffer.size()))));
        if (got == 0) return Error{ErrorCode::kIo, "ends too early"};
        bytes -= got;
    }
    return ok();
}

Status BlobReader::recover(Error error) {
    body_.reset();
    const uint64_t asked = std::exchange(retry_after_s_, 0);
    if (is_transient(error) && backoff_.wait(asked)) return ok();
    const bool stopped = http_.limits().stop != nullptr && http_.limits().stop->load();
    if (tried_ < from_.size() && !stopped) {
        ++tried_;
        current_ = (current_ + 1) % from_.size();
        backoff_.progress();
        return ok();
    }
    return std::move(error).wrap(
        fmt::format("blob {} of {}", blob_.digest.to_string(), from_[current_]->name()));
}

Result<std::string> read_small_blob(const Repositories& from, HttpClient& http,
                                    const oci::Descriptor& blob) {
    if (blob.size > kMaxDocumentBytes) {
        return Error{ErrorCode::kLimit,
                     fmt::format("blob {} has {} bytes, at most {} can be", blob.digest.to_string(),
                                 blob.size, kMaxDocumentBytes)};
    }
    // A mirror's copy may be wrong where the registry's own is right.
    for (size_t first = 0; first < from.size(); ++first) {
        BlobReader reader(from, first, http, blob, 0);
        TRY_ASSIGN(std::string text, oci::read_all(reader, kMaxDocumentBytes, "the blob"));
        if (text.size() == blob.size && sha256(text) == blob.digest) return text;
    }
    return Error{ErrorCode::kCorrupt,
                 fmt::format("blob {} of {}: its content doesn't match its digest",
                             blob.digest.to_string(), from.back()->name())};
}

}  // namespace drupe::imagefs::registry
