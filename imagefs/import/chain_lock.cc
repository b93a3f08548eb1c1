#include "imagefs/import/chain_lock.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include "imagefs/store/store_files.h"

namespace drupe::imagefs {

Result<ChainLock> ChainLock::take(const Store& store, const ChainId& chain_id) {
    // In tmp/, where one that a killed process leaves is cleared away.
    const std::string path = store.tmp_dir() + "/chain-" + chain_id.hex();
    for (;;) {
        TRY_ASSIGN(Fd fd, open_file(path, O_RDWR | O_CREAT | O_NOFOLLOW, 0600));
        TRY(lock_file(fd.get(), LOCK_EX, path));
        TRY_ASSIGN(const bool removed, has_no_name(fd.get(), path));
        if (!removed) return ChainLock(std::move(fd), path);
    }
}

ChainLock::~ChainLock() {
    if (!path_.empty()) ::unlink(path_.c_str());
}

}  // namespace drupe::imagefs
