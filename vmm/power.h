#pragma once

#include <functional>
#include <memory>

#include "vmm/bus.h"
#include "vmm/vcpu.h"

namespace drupe {

/// Called on a vCPU's thread, maybe often: the first call counts.
using StopFunction = std::function<void(const Stop& stop)>;

/// A 32-bit register at offset 0, a syscon to the guest: kPowerOffValue switches off, kResetValue
/// resets, all else is dropped. Reads give 0 (regmap_update_bits() writes only what differs).
inline constexpr uint32_t kPowerOffValue = 0x5555;
inline constexpr uint32_t kResetValue = 0x7777;
std::shared_ptr<BusDevice> make_power_register(StopFunction stop);

/// QEMU's pvpanic (docs/specs/pvpanic): reads give the events it knows, a write of bit 0 is a
/// panic.
std::shared_ptr<BusDevice> make_panic_register(StopFunction stop);

/// Port 0x64, the keyboard controller's: command 0xfe resets; its status always says "ready".
std::shared_ptr<BusDevice> make_keyboard_reset_port(StopFunction stop);

/// Port 0xcf9, the chipset's: a write with bit 2 set resets.
std::shared_ptr<BusDevice> make_chipset_reset_port(StopFunction stop);

}  // namespace drupe
