#include "imagefs/import/replay.h"

#include "imagefs/ext4/journal.h"
#include "imagefs/import/disk_device.h"

namespace drupe::imagefs {
Result<ChainId> replay_journal(Store& store, const ChainId& chain_id) {
    return store.derive(chain_id, [](BlockBackend& disk) -> Status {
        DiskDevice device(disk);
        return ext4::replay_journal(device);
    });
}

}  // namespace drupe::imagefs
