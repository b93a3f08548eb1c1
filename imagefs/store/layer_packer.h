#pragma once

#include "base/result.h"
#include "imagefs/store/block_map.h"
#include "imagefs/store/layer_file.h"
#include "imagefs/store/layered_disk.h"

namespace drupe::imagefs {

/// Writes the difference between two disks as a layer's data: of the blocks that `touched` names,
/// nothing where ours equals what lies below, a mark where ours is zeroes and there is data below,
/// and data otherwise. `below` is what below.read_parent() gives, so a disk with a top can stand
/// for the chain under it.
[[nodiscard]] Status pack_layer(const BlockMap& touched, LayeredDisk& ours,
                                const LayeredDisk& below, LayerWriter& writer);

}  // namespace drupe::imagefs
