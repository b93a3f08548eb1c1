#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/result.h"
#include "vmm/memory/guest_memory.h"

/// Where things are in an x86-64 machine's physical address space.
///
///     0x0000_0000  RAM; the first MiB has the boot structures below
///     0x000a_0000    the generation id (vmgenid.h)
///     0x0010_0000  RAM: the kernel's image (never lower), initrd at the end
///     0xc000_0000  no RAM: the gap
///     0xd000_0000    virtio-mmio slots, 4 KiB each
///     0xd010_0000    power register (power.h), 0xd010_1000 panic notice
///     0xfec0_0000    IOAPIC
///     0xfee0_0000    local APICs
///     0xfffb_c000    KVM's identity map and TSS, which Intel's real mode needs
///   0x1_0000_0000  the rest of the RAM
namespace drupe::arch {

inline constexpr uint64_t kMiB = 1ULL << 20;
inline constexpr uint64_t kGiB = 1ULL << 30;

inline constexpr uint64_t kGapStart = 3 * kGiB;
inline constexpr uint64_t kGapEnd = 4 * kGiB;

inline constexpr uint64_t kMmioWindow = 0xd0000000;
inline constexpr uint64_t kMmioSlotSize = 0x1000;
inline constexpr uint64_t kPowerRegister = 0xd0100000;
inline constexpr uint64_t kPanicRegister = 0xd0101000;
inline constexpr uint64_t kIoapic = 0xfec00000;
inline constexpr uint64_t kLapic = 0xfee00000;
inline constexpr uint64_t kIdentityMap = 0xfffbc000;  ///< One page; then three of TSS.
inline constexpr uint64_t kTss = kIdentityMap + 0x1000;

/// The boot structures, all in the first MiB.
inline constexpr uint64_t kGdt = 0x500;
inline constexpr uint64_t kPvhStartInfo = 0x6000;  ///< With its memory map and module list.
inline constexpr uint64_t kBootParams = 0x7000;
inline constexpr uint64_t kBootStackTop = 0x8ff0;
inline constexpr uint64_t kPageTables = 0x9000;  ///< PML4, PDPT and four PDs: the first 4 GiB.
inline constexpr uint64_t kCmdline = 0x20000;
inline constexpr uint64_t kSetupData = 0x30000;
inline constexpr uint64_t kSetupDataEnd = 0x40000;
inline constexpr uint64_t kMpTable = 0x9fc00;  ///< The last KiB of base memory, as an EBDA.
inline constexpr uint64_t kMpTableEnd = 0xa0000;
/// RAM, in the PC's hole that the memory map leaves out. From 0xc0000 on kernels look for ROMs.
inline constexpr uint64_t kVmGenId = 0xa0000;
inline constexpr uint64_t kHighMemory = 0x100000;  ///< Where a kernel's image may start.

/// The IOAPIC's pins that slots get, in order: all that KVM's 24-pin IOAPIC has but those of the
/// timer (0, 2), serial ports (3, 4), what a PC's drivers claim without asking (1 and 12: the
/// keyboard controller, 8: the clock) and the generation id.
inline constexpr std::array<uint32_t, 16> kSlotPins = {5,  6,  7,  9,  10, 11, 14, 15,
                                                       16, 17, 18, 19, 20, 21, 22, 23};
inline constexpr size_t kMmioSlots = kSlotPins.size();
inline constexpr uint32_t kVmGenIdPin = 13;  ///< No 64-bit kernel has a coprocessor's.
inline constexpr uint32_t kIoapicPins = 24;

/// RAM of a machine with memory_bytes: below the gap, and what is left from 4 GiB on.
[[nodiscard]] std::vector<GuestMemory::Range> ram_ranges(uint64_t memory_bytes);

enum class E820Type : uint32_t { kRam = 1, kReserved = 2 };
struct E820Entry {
    uint64_t address;
    uint64_t size;
    E820Type type;
};
/// The memory map for the kernel: RAM but the MP table's KiB and the PC's hole up to 1 MiB.
[[nodiscard]] std::vector<E820Entry> e820_map(const GuestMemory& memory);

}  // namespace drupe::arch
