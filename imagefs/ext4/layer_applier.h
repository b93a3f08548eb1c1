#pragma once

#include <memory>
#include <string>

#include "imagefs/ext4/block_device.h"
#include "imagefs/ext4/entry.h"

namespace drupe::imagefs::ext4 {

/// Applies one OCI layer (image-spec, layer.md), entry by entry, to the file system on a device:
/// layer 0 or what earlier layers made of it. Whiteouts (".wh.NAME", ".wh..wh..opq") remove what
/// lower layers left and spare what this one brought. Of two entries with one path the later one
/// counts. No path leaves the image, and none follows a symlink in its last component.
///
/// After an error the device is of no further use. One thread.
class LayerApplier {
  public:
    [[nodiscard]] static Result<LayerApplier> open(BlockDevice& device, const ApplyLimits& limits);
    LayerApplier(LayerApplier&&) noexcept;
    LayerApplier& operator=(LayerApplier&&) noexcept;
    ~LayerApplier();

    /// content is asked for a file's bytes only. An error names the entry.
    [[nodiscard]] Status apply(const Entry& entry, ContentReader& content);
    /// Makes the hard links that came before their targets, writes everything and closes the file
    /// system.
    [[nodiscard]] Result<ApplyStats> finish();

  private:
    class State;
    explicit LayerApplier(std::unique_ptr<State> state);
    std::unique_ptr<State> state_;
};

/// How an entry's path appears in messages: quoted, unprintable bytes escaped, cut to a readable
/// length.
[[nodiscard]] std::string printable_path(std::string_view path);

}  // namespace drupe::imagefs::ext4
