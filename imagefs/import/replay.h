#pragma once

#include "base/result.h"
#include "imagefs/store/store.h"

namespace drupe::imagefs {

/// The chain with its file system's journal replayed: what an image is made of when a top was
/// sealed (SealedTop::needs_replay) without its guest having been frozen. A sibling of the sealed
/// layer, which stays as it is for the container that goes on with it.
[[nodiscard]] Result<ChainId> replay_journal(Store& store, const ChainId& chain_id);

}  // namespace drupe::imagefs
