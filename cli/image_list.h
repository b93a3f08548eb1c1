#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "api/engine/images.h"
#include "base/result.h"

namespace drupe::cli {

/// Which images a list shows; what isn't set matches all.
struct ImageFilter {
    std::optional<bool> dangling;         ///< Whether it has no name.
    std::vector<std::string> references;  ///< Patterns, of which a name matches one.
    std::vector<std::string> labels;      ///< "KEY" or "KEY=VALUE": all of them.
    std::optional<int64_t> before_s;      ///< Made before then.
    std::optional<int64_t> since_s;       ///< Made after then.
};
/// Of `images --filter`: "dangling=true", "reference=debian*", "label=a=b", "before=IMAGE",
/// "since=IMAGE". created: when an image that is named was made. kInvalid: no such filter.
[[nodiscard]] Result<ImageFilter> parse_image_filter(
    const std::vector<std::string>& texts,
    const std::function<Result<int64_t>(const std::string& name)>& created);
/// Leaves the images, and their names, that the filter matches.
void apply_filter(std::vector<engine::ImageSummary>& images, const ImageFilter& filter);

struct ImageListOptions {
    bool quiet = false;
    bool no_trunc = false;
    bool digests = false;
    bool json = false;
    std::string format;
    std::string name;  ///< Only this repository, or repository and tag; empty: all.
};
/// A line for each name of an image; images without one are <none>.
[[nodiscard]] Result<std::string> image_list_text(const std::vector<engine::ImageSummary>& images,
                                                  const ImageListOptions& options, uint64_t now_ns);

}  // namespace drupe::cli
