#include "devices/virtio_blk/virtio_blk.h"

#include <linux/virtio_blk.h>
#include <linux/virtio_ids.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "base/check.h"
#include "base/mutex.h"
#include "devices/virtio_blk/request.h"
#include "imagefs/store/disk_queue.h"

namespace drupe::virtio {
namespace {

using imagefs::DiskQueue;
using imagefs::DiskRequest;

constexpr uint16_t kQueueSize = 256;
constexpr uint32_t kMaxSegments = kQueueSize - 2;  // header and status take one each

uint64_t features_of(const BlockBackend* disk) {
    const auto bit = [](int n) { return uint64_t{1} << n; };
    const uint64_t common =
        bit(VIRTIO_BLK_F_SEG_MAX) | bit(VIRTIO_BLK_F_BLK_SIZE) | bit(VIRTIO_BLK_F_FLUSH);
    if (disk != nullptr && disk->read_only()) return common | bit(VIRTIO_BLK_F_RO);
    return common | bit(VIRTIO_BLK_F_DISCARD) | bit(VIRTIO_BLK_F_WRITE_ZEROES);
}

virtio_blk_config config_of(const BlockBackend* disk) {
    constexpr uint32_t kSectorsInBlock = BlockBackend::kBlockSize / BlkLimits::kSector;
    virtio_blk_config config{};
    if (disk != nullptr) config.capacity = disk->size_bytes() / BlkLimits::kSector;
    config.seg_max = kMaxSegments;
    config.blk_size = BlockBackend::kBlockSize;
    config.num_queues = 1;
    config.max_discard_sectors = BlkLimits::kDiscardSectors;
    config.max_discard_seg = BlkLimits::kDiscardSegments;
    config.discard_sector_alignment = kSectorsInBlock;
    config.max_write_zeroes_sectors = BlkLimits::kZeroSectors;
    config.max_write_zeroes_seg = BlkLimits::kZeroSegments;
    config.write_zeroes_may_unmap = 1;
    return config;
}

class Blk final : public VirtioBlk, private imagefs::DiskQueue::Client {
  public:
    explicit Blk(Options options)
        : info_{.name = options.name,
                .device_id = VIRTIO_ID_BLOCK,
                .features = features_of(options.backend.get()),
                .queue_sizes = {kQueueSize}},
          requests_(options.name, std::move(options.serial)),
          disk_(std::move(options.backend)),
          disk_queue_({std::move(options.name), options.loop, std::move(options.io)}, *this),
          config_(config_of(disk_.get())) {
        disk_queue_.use(disk_.get());
    }
    ~Blk() override { reset(); }
    Blk(const Blk&) = delete;
    Blk& operator=(const Blk&) = delete;

    const DeviceInfo& info() const override { return info_; }

    void read_config(uint32_t offset, std::span<std::byte> out) override {
        std::ranges::fill(out, std::byte{0});
        const MutexLock lock(config_mutex_);
        const auto bytes = std::as_bytes(std::span(&config_, 1));
        if (offset >= bytes.size()) return;
        const size_t n = std::min(out.size(), bytes.size() - offset);
        std::memcpy(out.data(), bytes.data() + offset, n);
    }
    void write_config(uint32_t, std::span<const std::byte>) override {}  // nothing is writable

    void activate(Activation activation) override {
        queue_ = std::move(activation.queues[0]);
        features_ = activation.features;
        host_ = activation.host;
    }
    void on_notify(size_t) override {
        if (queue_ && !quiet_ && !broken_) serve();
    }
    void reset() override {
        resetting_ = true;
        disk_queue_.cancel();
        resetting_ = false;
        broken_ = false;
        queue_.reset();
        host_ = nullptr;
        quiet_ = false;
        if (const auto done = std::exchange(quiet_done_, nullptr)) done();
    }
    const VirtQueue* queue(size_t index) const override {
        return index == 0 && queue_ ? &*queue_ : nullptr;
    }

    void quiesce(std::function<void()> done) override {
        quiet_ = true;
        if (disk_queue_.idle()) return done();
        quiet_done_ = std::move(done);
        if (disk_queue_.paused()) disk_queue_.retry();
        progressed();
    }
    void resume() override {
        quiet_ = false;
        quiet_done_ = nullptr;  // of a quiesce() that wasn't waited for
    }
    // The disk is the composition's to bring back; what the driver believes of it must be true.
    void save(Encoder& out) const override {
        out.put(disk_ ? disk_->size_bytes() : detached_bytes_);
    }
    Status restore(Decoder& in) override {
        const auto size = in.get<uint64_t>();
        if (!in.at_end())
            return Error{ErrorCode::kInvalid, info_.name + ": state has a wrong length"};
        if (size != (disk_ ? disk_->size_bytes() : 0))
            return Error{ErrorCode::kInvalid, info_.name + ": the disk has another size than the " +
                                                  std::to_string(size) + " bytes of the state"};
        return ok();
    }

    Status attach(std::unique_ptr<BlockBackend> backend) override {
        if (disk_) return Error{ErrorCode::kConflict, info_.name + " has a disk already"};
        const virtio_blk_config config = config_of(backend.get());
        const bool again = detached_bytes_ != 0;
        if (again && backend->size_bytes() != detached_bytes_)
            return Error{ErrorCode::kInvalid, info_.name + ": the disk has another size than the " +
                                                  std::to_string(detached_bytes_) +
                                                  " bytes of the one before"};
        disk_ = std::move(backend);
        disk_queue_.use(disk_.get());
        {
            const MutexLock lock(config_mutex_);
            config_ = config;
        }
        if (!again && host_ != nullptr) host_->config_changed();
        return ok();
    }
    std::unique_ptr<BlockBackend> detach() override {
        DRUPE_CHECK(quiet_ || !queue_);
        if (disk_) detached_bytes_ = disk_->size_bytes();
        disk_queue_.use(nullptr);
        return std::move(disk_);
    }
    BlockBackend* backend() const override { return disk_.get(); }
    bool waits_for_room() const override { return disk_queue_.paused(); }

  private:
    /// A request on its way: what the disk is asked for, and where it came from.
    struct InFlight : DiskRequest {
        std::optional<DescriptorChain> chain;
    };

    /// Takes what the driver has made available as far as the disk accepts it, and gives back what
    /// has ended: one system call and one interrupt a round.
    void serve();
    /// Up to one ring's worth of chains. True if the queue was empty in the end.
    [[nodiscard]] Result<bool> take_chains();
    void take(DescriptorChain chain);
    void give_back(DescriptorChain chain, const BlkAnswer& answer);
    void interrupt();
    void done(DiskRequest& request, const Status& status) override;
    void progressed() override;

    const DeviceInfo info_;
    BlkRequests requests_;
    std::unique_ptr<BlockBackend> disk_;
    std::vector<std::unique_ptr<InFlight>> in_flight_;  // made when needed, kept; kDepth at most
    std::vector<InFlight*> free_;                       // of those
    std::optional<VirtQueue> queue_;
    DiskQueue disk_queue_;
    std::function<void()> quiet_done_;  // who waits for quiet
    bool broken_ = false;               // the ring can't be trusted
    bool resetting_ = false;
    uint64_t features_ = 0;
    DeviceHost* host_ = nullptr;
    bool quiet_ = false;
    uint64_t detached_bytes_ = 0;

    Mutex config_mutex_;  // read_config() comes on vCPU threads
    virtio_blk_config config_ DRUPE_GUARDED_BY(config_mutex_);
};

void Blk::serve() {
    const uint64_t faults = queue_->faults();
    const Result<bool> emptied = take_chains();
    disk_queue_.run();
    if (queue_->faults() != faults) host_->guest_fault(queue_->last_fault());
    interrupt();
    if (!emptied) {
        broken_ = true;
        host_->needs_reset(emptied.error().message);
    } else if (!emptied.value() && disk_queue_.accepts()) {
        host_->notify_later(0);
    }
}

Result<bool> Blk::take_chains() {
    uint32_t budget = queue_->size();
    queue_->disable_notifications();
    do {
        for (bool more = true; more;) {
            more = false;
            while (disk_queue_.accepts()) {
                if (budget == 0) break;
                TRY_ASSIGN(std::optional<DescriptorChain> chain, queue_->pop());
                if (!chain) break;
                --budget;
                more = true;
                take(std::move(*chain));
            }
            disk_queue_.run();
        }
        // Whatever ends next makes it accept again, and comes back here.
        if (budget == 0 || !disk_queue_.accepts()) return false;
    } while (queue_->enable_notifications());
    return true;
}

void Blk::take(DescriptorChain chain) {
    if (free_.empty()) {
        in_flight_.push_back(std::make_unique<InFlight>());
        free_.push_back(in_flight_.back().get());
    }
    InFlight& request = *free_.back();
    if (const auto answer = requests_.parse(chain, disk_.get(), features_, request))
        return give_back(std::move(chain), *answer);
    free_.pop_back();
    request.chain = std::move(chain);
    disk_queue_.submit(request);
}

void Blk::give_back(DescriptorChain chain, const BlkAnswer& answer) {
    if (answer.fault != nullptr) host_->guest_fault(answer.fault);
    queue_->complete(std::move(chain), BlkRequests::put(chain, answer));
}

void Blk::interrupt() {
    if (queue_->needs_interrupt()) host_->used_buffers();
}

void Blk::done(DiskRequest& disk_request, const Status& status) {
    auto& request = static_cast<InFlight&>(disk_request);
    const bool has_flush = (features_ >> VIRTIO_BLK_F_FLUSH & 1) != 0;
    if (request.kind == DiskRequest::Kind::kWrite && status && !has_flush) {
        // A driver that can't flush gets a write-through disk (5.2.6.2).
        request.kind = DiskRequest::Kind::kFlush;
        return disk_queue_.submit(request);
    }
    DescriptorChain chain = std::move(*request.chain);
    request.chain.reset();
    free_.push_back(&request);
    // After a reset nobody looks at the answer.
    const BlkAnswer answer =
        resetting_ ? BlkAnswer{.status = VIRTIO_BLK_S_IOERR} : requests_.answer_to(request, status);
    give_back(std::move(chain), answer);
}

/// The disk went on by itself.
void Blk::progressed() {
    if (!queue_) return;
    if (!quiet_ && !broken_) return serve();
    interrupt();
    if (!quiet_ || !disk_queue_.idle()) return;
    if (const auto quiet_done = std::exchange(quiet_done_, nullptr)) quiet_done();
}

}  // namespace

std::shared_ptr<VirtioBlk> make_virtio_blk(VirtioBlk::Options options) {
    return std::make_shared<Blk>(std::move(options));
}

}  // namespace drupe::virtio
