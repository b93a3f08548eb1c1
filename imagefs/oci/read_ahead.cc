#include <algorithm>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <mutex>
#include <thread>
#include <vector>

#include "imagefs/oci/byte_sources.h"

namespace drupe::imagefs::oci {
namespace {

constexpr size_t kBlockBytes = 512 * 1024;
constexpr size_t kMaxBlocks = 8;

class ReadAhead final : public ByteSource {
  public:
    explicit ReadAhead(ByteSource& inner) : inner_(inner), thread_([this] { run(); }) {}
    ~ReadAhead() override {
        {
            const std::lock_guard lock(mutex_);
            stopped_ = true;
        }
        room_.notify_one();
        thread_.join();
    }

    Result<size_t> read(std::span<std::byte> out) override {
        if (at_ == current_.size()) {
            std::unique_lock lock(mutex_);
            if (!current_.empty()) spare_.push_back(std::move(current_));
            current_.clear();
            at_ = 0;
            filled_.wait(lock, [this] { return !ready_.empty() || finished_; });
            if (ready_.empty()) {
                if (!outcome_) return outcome_.error();
                return size_t{0};
            }
            current_ = std::move(ready_.front());
            ready_.pop_front();
            lock.unlock();
            room_.notify_one();
        }
        const size_t count = std::min(out.size(), current_.size() - at_);
        std::memcpy(out.data(), current_.data() + at_, count);
        at_ += count;
        return count;
    }

  private:
    using Block = std::vector<std::byte>;

    void run() {
        while (true) {
            Block block;
            {
                std::unique_lock lock(mutex_);
                room_.wait(lock, [this] { return ready_.size() < kMaxBlocks || stopped_; });
                if (stopped_) return;
                if (!spare_.empty()) {
                    block = std::move(spare_.back());
                    spare_.pop_back();
                }
            }
            Status status = fill(block);
            const bool last = !status || block.empty();
            {
                const std::lock_guard lock(mutex_);
                if (!block.empty()) ready_.push_back(std::move(block));
                if (last) {
                    outcome_ = std::move(status);
                    finished_ = true;
                }
            }
            filled_.notify_one();
            if (last) return;
        }
    }

    Status fill(Block& block) {
        block.resize(kBlockBytes);
        size_t filled = 0;
        while (filled < kBlockBytes) {
            auto got = inner_.read(std::span(block).subspan(filled));
            if (!got || got.value() == 0) {
                block.resize(filled);
                return got ? Status(ok()) : Status(std::move(got).error());
            }
            filled += got.value();
        }
        return ok();
    }

    ByteSource& inner_;
    Block current_;
    size_t at_ = 0;

    std::mutex mutex_;  // Guards everything from here on.
    std::condition_variable filled_;
    std::condition_variable room_;
    std::deque<Block> ready_;
    std::vector<Block> spare_;
    Status outcome_ = ok();
    bool finished_ = false;
    bool stopped_ = false;

    std::thread thread_;  // Last: it uses all of the above.
};

}  // namespace

ByteSourcePtr make_read_ahead(ByteSource& inner) {
    return std::make_unique<ReadAhead>(inner);
}

}  // namespace drupe::imagefs::oci
