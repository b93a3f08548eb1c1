#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "base/mutex.h"
#include "imagefs/registry/blob_reader.h"
#include "imagefs/registry/download_file.h"

namespace drupe::imagefs::registry {

/// Fetches blobs into the store's downloads/, a few at a time and in their order, and lets each be
/// read while it still comes. The constructor starts the threads, the destructor stops them.
class Downloads {
  public:
    enum class State : uint8_t { kWaiting, kRunning, kVerifying, kComplete, kFailed };
    /// Called on the threads, one call at a time: bytes of blob `index` that are there.
    using Report = std::function<void(size_t index, State state, uint64_t bytes)>;
    /// Called on the threads, one call at a time, when blob `index` is this object's to fetch:
    /// another process that had it may have made a layer of it, and removed it, since `blobs` was
    /// put together.
    using IsWanted = std::function<Result<bool>(size_t index)>;
    static constexpr size_t kParallel = 3;  // as Docker

    Downloads(const Session& session, const Repositories& from, std::string dir,
              std::vector<oci::Descriptor> blobs, IsWanted is_wanted, Report report);
    ~Downloads();
    Downloads(const Downloads&) = delete;
    Downloads& operator=(const Downloads&) = delete;

    /// Blob `index` from its start; reading waits for what isn't there yet. A wrong blob fails at
    /// its end at the latest. Outlived by this object.
    [[nodiscard]] Result<oci::ByteSourcePtr> open(size_t index);
    /// Waits until what open() gave last time is complete, and known to be right, or isn't: true,
    /// and open() gives something else, be it an error.
    [[nodiscard]] bool was_replaced(size_t index);
    /// It isn't needed (any more); a download that hasn't begun won't.
    void release(size_t index);

  private:
    class Reader;
    struct Item {
        oci::Descriptor blob;
        State state = State::kWaiting;
        bool unwanted = false;
        std::shared_ptr<DownloadFile> file;
        uint64_t bytes = 0;       ///< That may be read.
        uint64_t generation = 0;  ///< Counts restarts.
        uint64_t opened = 0;      ///< The generation that open() gave.
        Status outcome = ok();
    };

    void work();
    [[nodiscard]] Status fetch(size_t index, HttpClient& http);
    [[nodiscard]] Status fetch_into(size_t index, size_t first, HttpClient& http,
                                    DownloadFile& file, Digest& digest);
    void set(size_t index, State state, uint64_t bytes);
    [[nodiscard]] bool is_unwanted(size_t index);
    [[nodiscard]] Result<bool> is_wanted_still(size_t index);
    void restart(size_t index, std::shared_ptr<DownloadFile> file);
    [[nodiscard]] Result<size_t> read(size_t index, uint64_t generation, uint64_t offset,
                                      std::span<std::byte> out);

    const Session& session_;
    const Repositories& from_;
    const std::string dir_;
    const IsWanted is_wanted_;
    const Report report_;
    std::atomic<bool> stop_ = false;
    std::atomic<size_t> next_ = 0;

    Mutex mutex_;
    Condition changed_;
    std::vector<Item> items_ DRUPE_GUARDED_BY(mutex_);
    Mutex report_mutex_;  ///< Held while is_wanted_ or report_ is called.

    std::vector<std::thread> threads_;  // Last: they use all of the above.
};

}  // namespace drupe::imagefs::registry
