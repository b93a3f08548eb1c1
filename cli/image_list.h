#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"

namespace drupe::cli {

/// An image as lists show it.
struct ListedImage {
    std::string id;                       ///< "sha256:..."
    std::vector<std::string> references;  ///< "busybox:latest"
    std::string digest;                   ///< Of its manifest; empty: not known.
    uint64_t size_bytes = 0;
    int64_t created_s = 0;
};

struct ImageListOptions {
    bool quiet = false;
    bool no_trunc = false;
    bool digests = false;
    bool json = false;
    std::string format;
    std::string name;  ///< Only this repository, or repository and tag; empty: all.
};
/// A line for each name of an image; images without one are <none>.
[[nodiscard]] Result<std::string> image_list_text(const std::vector<ListedImage>& images,
                                                  const ImageListOptions& options, uint64_t now_ns);

}  // namespace drupe::cli
