#include "devices/virtio_balloon/virtio_balloon.h"

#include <linux/virtio_balloon.h>
#include <linux/virtio_ids.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "base/log.h"
#include "devices/virtio/serve_queue.h"

namespace drupe::virtio {
namespace {

constexpr uint16_t kBalloonQueueSize = 16;    // inflateq and deflateq
constexpr uint16_t kReportingQueueSize = 32;  // Linux refuses a smaller one
// Linux reports 32 blocks of 4 MiB at a time. What is more stays the guest's: a report is a hint
// (case 16 of docs/security.md).
constexpr uint64_t kMaxBytes = 128 << 20;

class Balloon final : public VirtioBalloon {
  public:
    explicit Balloon(std::string name)
        : info_{.name = std::move(name),
                .device_id = VIRTIO_ID_BALLOON,
                .features = uint64_t{1} << VIRTIO_BALLOON_F_REPORTING,
                .queue_sizes = {kBalloonQueueSize, kBalloonQueueSize, kReportingQueueSize}} {}

    const DeviceInfo& info() const override { return info_; }
    // num_pages, what the guest should give, is 0, and so is `actual`, what it has given.
    void read_config(uint32_t, std::span<std::byte> out) override {
        std::ranges::fill(out, std::byte{0});
    }
    void write_config(uint32_t, std::span<const std::byte>) override {}

    void activate(Activation activation) override {
        queues_ = std::move(activation.queues);
        host_ = activation.host;
    }
    void on_notify(size_t index) override {
        if (quiet_ || index >= queues_.size() || !queues_[index]) return;
        serve_queue(*queues_[index], index, *host_, [&](const DescriptorChain& chain) {
            // Nobody was asked to inflate or deflate: such a request is over at once.
            if (index == kReportingQueue) take_report(chain);
            return 0;  // nothing was written
        });
    }
    void reset() override {
        queues_.clear();
        quiet_ = false;
    }
    const VirtQueue* queue(size_t index) const override {
        return index < queues_.size() && queues_[index] ? &*queues_[index] : nullptr;
    }

    // Requests are answered at once, so none is ever in flight.
    void quiesce(std::function<void()> done) override {
        quiet_ = true;
        done();
    }
    void resume() override { quiet_ = false; }
    void save(Encoder&) const override {}
    Status restore(Decoder& in) override {
        if (!in.at_end()) return Error{ErrorCode::kInvalid, info_.name + ": state is too long"};
        return ok();
    }

    uint64_t reports() const override { return reports_; }

  private:
    void take_report(const DescriptorChain& chain) {
        ++reports_;
        uint64_t left = kMaxBytes;
        for (const GuestSlice& range : chain.writable()) {
            const uint64_t size = std::min<uint64_t>(range.size(), left);
            left -= size;
            const Status status = range.sub(0, size)->discard();
            if (!status && errors_.pass())
                log(LogLevel::kError, "{}: {}", info_.name, status.error().message);
        }
    }

    const DeviceInfo info_;
    LogLimit errors_;
    std::vector<std::optional<VirtQueue>> queues_;  // empty: not active
    DeviceHost* host_ = nullptr;
    uint64_t reports_ = 0;
    bool quiet_ = false;
};

}  // namespace

std::shared_ptr<VirtioBalloon> make_virtio_balloon(std::string name) {
    return std::make_shared<Balloon>(std::move(name));
}

}  // namespace drupe::virtio
