#include "vmm/power.h"

#include <algorithm>
#include <cstring>

namespace drupe {
namespace {

/// A device whose reads give one constant and whose writes may stop the machine.
class StopDevice final : public BusDevice {
  public:
    using Decide = std::function<void(uint64_t offset, uint32_t value, const StopFunction& stop)>;
    StopDevice(std::byte reads_as, StopFunction stop, Decide decide)
        : reads_as_(reads_as), stop_(std::move(stop)), decide_(std::move(decide)) {}

    void read(uint64_t offset, std::span<std::byte> out) override {
        std::fill(out.begin(), out.end(), std::byte{0});
        if (offset == 0 && !out.empty()) out[0] = reads_as_;
    }
    void write(uint64_t offset, std::span<const std::byte> data) override {
        uint32_t value = 0;
        std::memcpy(&value, data.data(), std::min(sizeof value, data.size()));
        decide_(offset, value, stop_);
    }

  private:
    std::byte reads_as_;
    StopFunction stop_;
    Decide decide_;
};

std::shared_ptr<BusDevice> make_device(uint8_t reads_as, StopFunction stop,
                                       StopDevice::Decide decide) {
    return std::make_shared<StopDevice>(std::byte{reads_as}, std::move(stop), std::move(decide));
}

constexpr uint32_t kPvpanicPanicked = 1;
constexpr uint32_t kKeyboardPulseReset = 0xfe;
constexpr uint32_t kChipsetReset = 1 << 2;

}  // namespace

std::shared_ptr<BusDevice> make_power_register(StopFunction stop) {
    return make_device(0, std::move(stop), [](uint64_t offset, uint32_t value, const auto& end) {
        if (offset != 0) return;
        if (value == kPowerOffValue) end({StopReason::kPowerOff, "power register"});
        if (value == kResetValue) end({StopReason::kReset, "power register"});
    });
}

std::shared_ptr<BusDevice> make_panic_register(StopFunction stop) {
    return make_device(kPvpanicPanicked, std::move(stop),
                       [](uint64_t offset, uint32_t value, const auto& end) {
                           if (offset == 0 && (value & kPvpanicPanicked) != 0)
                               end({StopReason::kPanic, "the guest's kernel panicked"});
                       });
}

std::shared_ptr<BusDevice> make_keyboard_reset_port(StopFunction stop) {
    // Status 0: nothing to read, and room for a command. With 0xff Linux would wait for room.
    return make_device(0, std::move(stop), [](uint64_t, uint32_t value, const auto& end) {
        if ((value & 0xff) == kKeyboardPulseReset) end({StopReason::kReset, "port 0x64"});
    });
}

std::shared_ptr<BusDevice> make_chipset_reset_port(StopFunction stop) {
    return make_device(0, std::move(stop), [](uint64_t, uint32_t value, const auto& end) {
        if ((value & kChipsetReset) != 0) end({StopReason::kReset, "port 0xcf9"});
    });
}

}  // namespace drupe
