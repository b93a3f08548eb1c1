#pragma once

#include <functional>
#include <string>
#include <vector>

#include "imagefs/export/image_export.h"
#include "imagefs/registry/repository.h"

namespace drupe::imagefs::registry {

enum class Uploaded : uint8_t { kSent, kMounted, kExisted };

/// Sees to it that a repository has a blob: asks for it, has it mounted from one of `mounts` (other
/// repositories of that registry), or sends it, in one piece or, where that is refused, in chunks.
class BlobUpload {
  public:
    BlobUpload(Repository& to, HttpClient& http, const OutBlob& blob,
               std::function<void(uint64_t)> on_bytes)
        : to_(to), http_(http), blob_(blob), on_bytes_(std::move(on_bytes)) {}

    [[nodiscard]] Result<Uploaded> run(const std::vector<std::string>& mounts);
    [[nodiscard]] const std::string& mounted_from() const { return mounted_from_; }

  private:
    [[nodiscard]] Result<bool> exists();
    /// Where to send it; nullopt: it was mounted, nothing is to be sent.
    [[nodiscard]] Result<std::optional<Url>> begin(const std::string& mount_from);
    [[nodiscard]] Status send(const Url& upload);
    [[nodiscard]] Status send_chunks(Url upload);
    [[nodiscard]] Status finish(const Response& response) const;
    [[nodiscard]] Url with_digest(Url upload) const;

    Repository& to_;
    HttpClient& http_;
    const OutBlob& blob_;
    std::function<void(uint64_t)> on_bytes_;
    std::string mounted_from_;
    uint64_t least_chunk_ = 0;  ///< What the server asks for.
};

}  // namespace drupe::imagefs::registry
