#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "base/result.h"
#include "vmm/boot/hardware.h"
#include "vmm/memory/guest_memory.h"

namespace drupe {

/// How the kernel is told what devices there are. A kernel that honours the tree would find every
/// device twice if the command line named it too, and which of the two it understands can't be seen
/// from its file: the owner of the kernel says.
enum class DeviceDescription : uint8_t {
    /// A flattened device tree as setup data. Needs CONFIG_OF with OF_EARLY_FLATTREE and the 64-bit
    /// boot protocol (PVH has no setup data): Drupe's own kernel.
    kDeviceTree,
    /// An MP table, and virtio_mmio.device= on the command line. Needs CONFIG_X86_MPPARSE and
    /// CONFIG_VIRTIO_MMIO_CMDLINE_DEVICES. No power-off or panic notice: such a guest ends by
    /// reset.
    kMpTable,
};

/// How the kernel's file gets into RAM (docs/adr has the measurements).
enum class KernelLoading : uint8_t {
    kRead,        ///< Read into RAM that is advised to huge pages.
    kMapPrivate,  ///< Page-aligned parts mapped MAP_PRIVATE. The file must never be truncated.
};

enum class BootProtocol : uint8_t {
    kLinux64,  ///< The Linux 64-bit boot protocol.
    kPvh,      ///< x86/HVM direct boot: 32-bit entry, hvm_start_info.
};

/// What Vm::load() puts into a machine. Descriptors stay the caller's, are read with pread from 0,
/// and are not needed after.
struct BootConfig {
    int kernel_fd = -1;  ///< ELF vmlinux or bzImage, a regular file; hostile.
    int initrd_fd = -1;  ///< A regular file, or -1 for none.
    /// At most kMaxCmdline bytes with what is added; no control characters.
    std::string cmdline{};
    DeviceDescription devices = DeviceDescription::kDeviceTree;
    KernelLoading loading = KernelLoading::kRead;
    /// nullopt prefers the 64-bit protocol.
    std::optional<BootProtocol> protocol{};
};

inline constexpr size_t kMaxCmdline = 2047;  ///< COMMAND_LINE_SIZE of x86 Linux, without its NUL.

/// Where the boot CPU begins.
struct BootEntry {
    BootProtocol protocol = BootProtocol::kLinux64;
    uint64_t address = 0;  ///< Guest-physical.
};

/// Puts kernel, initrd, command line, memory map and the description of the hardware into fresh
/// RAM. Errors name the file and why: kInvalid, kUnsupported, or kLimit for what doesn't fit.
[[nodiscard]] Result<BootEntry> load_boot(const BootConfig& config, const Hardware& hardware,
                                          const GuestMemory& memory);

}  // namespace drupe
