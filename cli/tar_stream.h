#pragma once

#include <memory>
#include <optional>
#include <string>
#include <thread>

#include "api/client/message.h"
#include "base/fd.h"

namespace drupe::cli {

/// A request's body: all of a descriptor, which outlives it.
[[nodiscard]] client::BodySource body_from(int fd);

/// A file or folder of the host's as a tar that is packed while it is sent.
class PackedStream {
  public:
    /// Packs what is at `path` under `name` (archive/pack.h).
    [[nodiscard]] static Result<std::unique_ptr<PackedStream>> begin(const std::string& path,
                                                                     const std::string& name);
    PackedStream(const PackedStream&) = delete;
    PackedStream& operator=(const PackedStream&) = delete;
    ~PackedStream();

    /// Whatever couldn't be packed is an error of the source's, never the end of a tar. Not beyond
    /// this object's life.
    [[nodiscard]] client::BodySource source();
    /// The tar's size, once its end was read.
    [[nodiscard]] uint64_t bytes() const { return bytes_; }

  private:
    PackedStream() = default;
    [[nodiscard]] Status finish();

    Fd tar_;
    std::thread packer_;
    std::optional<Error> error_;  // the packer's until it is joined
    uint64_t bytes_ = 0;
};

}  // namespace drupe::cli
