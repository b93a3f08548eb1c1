#include "devices/virtio_blk/virtio_blk.h"

#include <linux/virtio_blk.h>
#include <linux/virtio_ids.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "base/check.h"
#include "base/mutex.h"
#include "devices/virtio/serve_queue.h"
#include "devices/virtio_blk/request.h"

namespace drupe::virtio {
namespace {

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

class Blk final : public VirtioBlk {
  public:
    explicit Blk(Options options)
        : info_{.name = options.name,
                .device_id = VIRTIO_ID_BLOCK,
                .features = features_of(options.backend.get()),
                .queue_sizes = {kQueueSize}},
          requests_(std::move(options.name), std::move(options.serial)),
          disk_(std::move(options.backend)),
          config_(config_of(disk_.get())) {}

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
    void on_notify(size_t index) override {
        if (!queue_ || quiet_) return;
        serve_queue(*queue_, index, *host_, [this](const DescriptorChain& chain) {
            const BlkOutcome outcome = requests_.serve(chain, disk_.get(), features_);
            if (outcome.fault != nullptr) host_->guest_fault(outcome.fault);
            return outcome.written;
        });
    }
    void reset() override {
        queue_.reset();
        host_ = nullptr;
        quiet_ = false;
    }
    const VirtQueue* queue(size_t index) const override {
        return index == 0 && queue_ ? &*queue_ : nullptr;
    }

    // Requests are served to their end in on_notify(), so none is ever in flight here.
    void quiesce(std::function<void()> done) override {
        quiet_ = true;
        done();
    }
    void resume() override { quiet_ = false; }
    // The disk is the composition's to bring back; what the driver believes of it must be true.
    void save(Encoder& out) const override { out.put(disk_ ? disk_->size_bytes() : 0); }
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
        return std::move(disk_);
    }
    BlockBackend* backend() const override { return disk_.get(); }

  private:
    const DeviceInfo info_;
    BlkRequests requests_;
    std::unique_ptr<BlockBackend> disk_;
    std::optional<VirtQueue> queue_;
    uint64_t features_ = 0;
    DeviceHost* host_ = nullptr;
    bool quiet_ = false;
    uint64_t detached_bytes_ = 0;

    Mutex config_mutex_;  // read_config() comes on vCPU threads
    virtio_blk_config config_ DRUPE_GUARDED_BY(config_mutex_);
};

}  // namespace

std::shared_ptr<VirtioBlk> make_virtio_blk(VirtioBlk::Options options) {
    return std::make_shared<Blk>(std::move(options));
}

}  // namespace drupe::virtio
