#pragma once

#include "api/server/exchange.h"
#include "imagefs/ext4/byte_source.h"
#include "imagefs/store/store_files.h"

namespace drupe::endpoints {

/// A request's body, for what reads streams.
class BodySource final : public imagefs::ByteSource {
  public:
    explicit BodySource(http::Exchange& http) : http_(http) {}
    [[nodiscard]] Result<size_t> read(std::span<std::byte> out) override {
        return http_.read_body(out);
    }

  private:
    http::Exchange& http_;
};

/// A body as a file in folder, which importers need (they seek); gone with the object.
[[nodiscard]] Result<imagefs::TmpFile> spool_body(http::Exchange& http, const std::string& folder);

}  // namespace drupe::endpoints
