#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "api/engine/container.h"
#include "base/result.h"
#include "monitor/control.h"

namespace drupe::engine {

/// kConflict, with why, if a snapshot of a container's machine can't be taken.
[[nodiscard]] Status check_can_be_saved(const Container& container, std::string_view query);

/// What a snapshot of an image's was saved of, as its live.json has it.
struct LiveImage {
    std::string chain;  ///< The disk that fits it; the image's own has its journal replayed.
    uint64_t memory_bytes = 0;  ///< As in ContainerConfig, as the rest.
    uint64_t nano_cpus = 0;
    bool tty = false;
    bool open_stdin = false;
    uint16_t protocol = 0;  ///< The version that its drupe-init speaks.
};

/// The memories of images that were committed live, below one folder:
///
///     IMAGE/ (64 hex digits)  live.json, state, memory (docs/formats/snapshot.md)
///     new-RANDOM/             of a commit that is under way, or has died
///
/// Used by any number of processes.
class LiveImages {
  public:
    explicit LiveImages(std::string folder) : folder_(std::move(folder)) {}

    /// A folder with two empty files; it lasts until publish(), or the next sweep by who holds no
    /// lock on it.
    struct New {
        std::string folder;
        control::Snapshot files;
    };
    [[nodiscard]] Result<New> begin() const;
    /// Durable, and whole, when this returns.
    [[nodiscard]] Status publish(const New& made, const LiveImage& live,
                                 std::string_view image_id) const;
    /// nullopt: the image has no memory.
    [[nodiscard]] Result<std::optional<LiveImage>> find(std::string_view image_id) const;
    [[nodiscard]] Result<control::Snapshot> open(std::string_view image_id) const;
    [[nodiscard]] Status remove(std::string_view image_id) const;
    /// "sha256:..." of all there are. Removes what commits that died have left.
    [[nodiscard]] Result<std::vector<std::string>> sweep() const;

    /// The name of the top that keeps an image's disk from being pruned.
    [[nodiscard]] static std::string pin_of(std::string_view image_id);

  private:
    [[nodiscard]] std::string folder_of(std::string_view image_id) const;
    std::string folder_;
};

}  // namespace drupe::engine
