#pragma once

#include <atomic>
#include <cstdint>
#include <string>

#include "base/fd.h"
#include "base/result.h"
#include "imagefs/store/digest.h"

namespace drupe::imagefs::registry {

/// A blob's file in the store's downloads/ (docs/formats/store.md), as several processes share it:
/// one writes, the others wait and then read. What a killed writer left is gone on with.
class DownloadFile {
  public:
    /// Waits while another process writes it. kLimit: told to stop.
    [[nodiscard]] static Result<DownloadFile> claim(const std::string& dir, const Digest& digest,
                                                    const std::atomic<bool>& stop);

    [[nodiscard]] const Fd& fd() const { return fd_; }
    /// Somebody has written all of it; otherwise it is this object's to write.
    [[nodiscard]] bool is_complete() const { return complete_; }
    /// Bytes that are there.
    [[nodiscard]] Result<uint64_t> size() const;
    /// It is all there and right: others may have it.
    [[nodiscard]] Status complete();
    /// It is wrong: nobody else shall have it. It must be claimed again.
    [[nodiscard]] Status discard();
    /// It is of no more use to this process; the last one removes it.
    void release();

  private:
    DownloadFile(Fd fd, std::string path, bool complete)
        : fd_(std::move(fd)), path_(std::move(path)), complete_(complete) {}
    [[nodiscard]] std::string part() const { return path_ + ".part"; }

    Fd fd_;
    std::string path_;
    bool complete_;
};

}  // namespace drupe::imagefs::registry
