#pragma once

#include <sys/uio.h>

#include <algorithm>
#include <deque>
#include <map>
#include <vector>

#include "imagefs/store/disk_io.h"

namespace drupe::imagefs::test {

/// An I/O layer in the test's hand: an operation does nothing until the test says how it ends.
class ScriptedIo final : public DiskIo {
  public:
    /// The test's side; outlives the ScriptedIo.
    struct Script {
        std::deque<DiskOperation> under_way;
        std::deque<DiskResult> results;
        std::deque<int> next_results;  ///< Errors of the coming operations, at once; 0: none.
        size_t most_bytes = SIZE_MAX;  ///< Of one transfer.
        bool at_once = false;          ///< Operations end within run().

        /// Ends operation i: really, or with an error.
        void finish(size_t i, int error = 0) {
            const DiskOperation operation = under_way.at(i);
            under_way.erase(under_way.begin() + static_cast<ptrdiff_t>(i));
            results.push_back({operation.token, error != 0 ? -error : really(operation)});
        }
        [[nodiscard]] int really(const DiskOperation& operation) {
            if (operation.kind == DiskOperation::Kind::kSync) return 0;
            iovec part = operation.data.front();
            part.iov_len = std::min(part.iov_len, most_bytes);
            const auto offset = static_cast<off_t>(operation.offset);
            return static_cast<int>(operation.kind == DiskOperation::Kind::kRead
                                        ? ::preadv(operation.fd, &part, 1, offset)
                                        : ::pwritev(operation.fd, &part, 1, offset));
        }
    };

    explicit ScriptedIo(Script& script) : script_(script) {}

    void prepare(const DiskOperation& operation) override {
        // The array of iovecs is only valid until run(): keep what it says.
        iovecs_[operation.token].assign(operation.data.begin(), operation.data.end());
        DiskOperation kept = operation;
        kept.data = iovecs_[operation.token];
        script_.under_way.push_back(kept);
    }
    size_t run(std::span<DiskResult> results, bool wait) override {
        while (!script_.under_way.empty() && (script_.at_once || !script_.next_results.empty())) {
            int error = 0;
            if (!script_.next_results.empty()) {
                error = script_.next_results.front();
                script_.next_results.pop_front();
            }
            script_.finish(0, error);
        }
        if (wait && script_.results.empty() && !script_.under_way.empty()) script_.finish(0);
        size_t count = 0;
        for (; count < results.size() && !script_.results.empty(); ++count) {
            results[count] = script_.results.front();
            script_.results.pop_front();
        }
        return count;
    }
    int ready_fd() const override { return -1; }

  private:
    Script& script_;
    std::map<void*, std::vector<iovec>> iovecs_;
};

}  // namespace drupe::imagefs::test
