#pragma once

#include <algorithm>
#include <deque>

#include "base/mutex.h"
#include "imagefs/store/store_files.h"

namespace drupe::engine {

/// Files whose checksums were found right, by their versions: they needn't be looked at again as
/// long as this process lives. Any thread.
class VerifiedFiles {
  public:
    [[nodiscard]] bool contains(const imagefs::FileVersion& file) const {
        const MutexLock lock(mutex_);
        return std::ranges::find(files_, file) != files_.end();
    }
    void add(const imagefs::FileVersion& file) {
        const MutexLock lock(mutex_);
        if (std::ranges::find(files_, file) != files_.end()) return;
        if (files_.size() >= kMaxFiles) files_.pop_front();
        files_.push_back(file);
    }

  private:
    static constexpr size_t kMaxFiles = 256;  ///< The oldest is forgotten for another.
    mutable Mutex mutex_;
    std::deque<imagefs::FileVersion> files_ DRUPE_GUARDED_BY(mutex_);
};

}  // namespace drupe::engine
