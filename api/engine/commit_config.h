#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "api/engine/container.h"
#include "base/result.h"

namespace drupe::engine {

/// What a commit says about the image it makes.
struct CommitWords {
    std::string author;
    std::string comment;
    std::vector<std::string> changes;  ///< Dockerfile instructions: "CMD [\"sh\"]", "ENV A=b".
};

/// The configuration (OCI image-spec, config.md) of an image made of a container: its own settings
/// over those of the image it came from, then the changes; one more layer, one more line of
/// history. parent_config: the JSON of the container's image. diff_id: the new layer's.
/// kInvalid names the instruction that isn't one, or isn't allowed here.
[[nodiscard]] Result<std::string> commit_config(std::string_view parent_config,
                                                const Container& container,
                                                const CommitWords& words, std::string_view diff_id,
                                                uint64_t now_ns);

/// An image's configuration with the changes and the comment of who imports it, now.
[[nodiscard]] Result<std::string> change_config(std::string_view image_config,
                                                const CommitWords& words, uint64_t now_ns);

}  // namespace drupe::engine
