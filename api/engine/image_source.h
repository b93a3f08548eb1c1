#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "api/engine/container.h"
#include "base/result.h"
#include "imagefs/store/database.h"
#include "imagefs/store/layered_disk.h"

namespace drupe::engine {

/// An image, as far as running it is concerned.
struct ImageRef {
    std::string id;     ///< "sha256:...", of its configuration.
    std::string chain;  ///< Names the chain of layers to the source.
    ImageConfig config;
};

/// A container's top that has become a layer.
struct SealedDisk {
    std::string chain;          ///< Ends with that layer.
    bool needs_replay = false;  ///< The file system's journal has to be replayed before it is read.
    imagefs::DiskFiles files;   ///< The chain under a new top: what the container goes on with.
};

/// Where the engine takes root disks from: the image store, or a fake of it. One thread.
class ImageSource {
  public:
    virtual ~ImageSource() = default;

    /// By reference or id, as users write it. kNotFound: "No such image: ...".
    [[nodiscard]] virtual Result<ImageRef> resolve(std::string_view name) = 0;

    // Tops carry the container's id. What is open is locked against removal.
    [[nodiscard]] virtual Result<imagefs::DiskFiles> create_top(const std::string& id,
                                                                const ImageRef& image) = 0;
    [[nodiscard]] virtual Result<imagefs::DiskFiles> open_top(const std::string& id) = 0;
    /// Whether nothing was ever written to the top of a disk that is open: it is what its chain is.
    [[nodiscard]] virtual Result<bool> is_unwritten(const imagefs::DiskFiles& disk) = 0;
    /// Gives a container a new top on another chain, in the place of what it has written. Nobody
    /// may have the top open (kConflict). Durable; after a failure open_top() gives the old one.
    [[nodiscard]] virtual Result<imagefs::DiskFiles> reset_top(const std::string& id,
                                                               const ImageRef& image) = 0;
    [[nodiscard]] virtual Result<imagefs::DiskFiles> open_read_only(const ImageRef& image) = 0;
    /// kInvalid: no image can have this name; an empty one is fine.
    [[nodiscard]] virtual Status check_name(std::string_view reference) = 0;
    /// Makes a layer of what the container has written, and gives it a new top on that. Nobody may
    /// have the top open (kConflict). After a failure open_top() gives the old one.
    [[nodiscard]] virtual Result<SealedDisk> seal_top(const std::string& id) = 0;

    /// The JSON of an image's configuration.
    [[nodiscard]] virtual Result<std::string> image_config(const std::string& id) = 0;
    /// Makes an image of a sealed disk's chain; replays its file system's journal first if need be.
    /// make_config gets the new layer's diffID. reference: as users write it, or empty. Returns the
    /// image's id.
    [[nodiscard]] virtual Result<std::string> put_image(
        const SealedDisk& disk, const std::string& reference,
        const std::function<Result<std::string>(std::string_view diff_id)>& make_config) = 0;

    /// No error if there is none.
    [[nodiscard]] virtual Status remove_top(const std::string& id) = 0;

    /// drupe.db, in which the engine keeps its tables too.
    [[nodiscard]] virtual imagefs::Database& database() = 0;
};

}  // namespace drupe::engine
