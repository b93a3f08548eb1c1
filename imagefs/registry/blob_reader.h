#pragma once

#include <memory>
#include <vector>

#include "imagefs/oci/byte_sources.h"
#include "imagefs/registry/repository.h"

namespace drupe::imagefs::registry {

/// Whom to ask for something, the first one first.
using Repositories = std::vector<std::unique_ptr<Repository>>;

/// The bytes of a blob from `offset` on, over as many requests as that takes: broken connections
/// are resumed by Range, busy servers asked again, failing ones left for the next. Digests are the
/// reader's business. Borrows everything.
class BlobReader final : public ByteSource {
  public:
    /// first: which repository to begin with.
    BlobReader(const Repositories& from, size_t first, HttpClient& http, oci::Descriptor blob,
               uint64_t offset);
    [[nodiscard]] Result<size_t> read(std::span<std::byte> out) override;

  private:
    [[nodiscard]] Status open();
    [[nodiscard]] Status accept(Response response);
    [[nodiscard]] Status skip(uint64_t bytes);
    [[nodiscard]] Status recover(Error error);

    const Repositories& from_;
    HttpClient& http_;
    oci::Descriptor blob_;
    uint64_t offset_;
    size_t current_;
    size_t tried_ = 1;  ///< How many repositories.
    Backoff backoff_;
    uint64_t progress_ = 0;       ///< Bytes since the last failure that counted.
    uint64_t retry_after_s_ = 0;  ///< What the last answer asked for.
    oci::ByteSourcePtr body_;
    bool is_sized_ = false;  ///< The server said how long the body is.
};

/// A small blob (a config), checked. At most kMaxDocumentBytes.
[[nodiscard]] Result<std::string> read_small_blob(const Repositories& from, HttpClient& http,
                                                  const oci::Descriptor& blob);

}  // namespace drupe::imagefs::registry
