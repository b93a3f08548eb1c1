#include "devices/virtio_rng/virtio_rng.h"

#include <linux/virtio_ids.h>
#include <sys/random.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <utility>

#include "base/log.h"
#include "devices/virtio/serve_queue.h"

namespace drupe::virtio {
namespace {

constexpr uint16_t kQueueSize = 16;
// A driver may ask for gigabytes (case 15 of docs/security.md). The device may give less (5.4.6.1).
constexpr uint64_t kMaxBytes = 64 << 10;

class VirtioRng final : public VirtioDevice {
  public:
    VirtioRng(std::string name, EntropySource entropy)
        : info_{.name = std::move(name), .device_id = VIRTIO_ID_RNG, .queue_sizes = {kQueueSize}},
          entropy_(std::move(entropy)) {}

    const DeviceInfo& info() const override { return info_; }
    // There is no configuration space.
    void read_config(uint32_t, std::span<std::byte> out) override {
        std::ranges::fill(out, std::byte{0});
    }
    void write_config(uint32_t, std::span<const std::byte>) override {}

    void activate(Activation activation) override {
        queue_ = std::move(activation.queues[0]);
        host_ = activation.host;
    }
    void on_notify(size_t index) override {
        if (!queue_ || quiet_) return;
        serve_queue(*queue_, index, *host_,
                    [this](const DescriptorChain& chain) { return fill(chain); });
    }
    void reset() override {
        queue_.reset();
        quiet_ = false;
    }
    const VirtQueue* queue(size_t index) const override {
        return index == 0 && queue_ ? &*queue_ : nullptr;
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

  private:
    /// Returns how many bytes were filled.
    uint32_t fill(const DescriptorChain& chain) {
        const uint64_t wanted = std::min(chain.writable_size(), kMaxBytes);
        std::array<std::byte, 4096> bytes;
        uint64_t done = 0;
        while (done < wanted) {
            const auto piece = std::span(bytes).first(std::min(wanted - done, bytes.size()));
            if (const Status status = entropy_(piece); !status) {
                if (errors_.pass())
                    log(LogLevel::kError, "{}: {}", info_.name, status.error().message);
                break;
            }
            done += chain.write(done, piece);
        }
        return static_cast<uint32_t>(done);
    }

    const DeviceInfo info_;
    const EntropySource entropy_;
    LogLimit errors_;
    std::optional<VirtQueue> queue_;
    DeviceHost* host_ = nullptr;
    bool quiet_ = false;
};

}  // namespace

EntropySource system_entropy() {
    return [](std::span<std::byte> out) -> Status {
        while (!out.empty()) {
            const ssize_t n = ::getrandom(out.data(), out.size(), 0);
            if (n < 0 && errno == EINTR) continue;
            if (n < 0) return os_error("getrandom");
            out = out.subspan(static_cast<size_t>(n));
        }
        return ok();
    };
}

std::shared_ptr<VirtioDevice> make_virtio_rng(std::string name, EntropySource entropy) {
    return std::make_shared<VirtioRng>(std::move(name), std::move(entropy));
}

}  // namespace drupe::virtio
