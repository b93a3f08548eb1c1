#pragma once

#include <string>

#include "base/fd.h"
#include "imagefs/store/store.h"

namespace drupe::imagefs {

/// The right to make one layer, across processes: who wants the same one waits, and then finds it.
/// A process holds one at a time, and its maker never waits for another: no cycle is possible.
class ChainLock {
  public:
    [[nodiscard]] static Result<ChainLock> take(const Store& store, const ChainId& chain_id);
    ChainLock(ChainLock&& other) noexcept
        : fd_(std::move(other.fd_)), path_(std::exchange(other.path_, {})) {}
    ChainLock& operator=(ChainLock&&) = delete;
    ~ChainLock();

  private:
    ChainLock(Fd fd, std::string path) : fd_(std::move(fd)), path_(std::move(path)) {}
    Fd fd_;
    std::string path_;
};

}  // namespace drupe::imagefs
