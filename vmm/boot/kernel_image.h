#pragma once

#include <asm/bootparam.h>

#include <cstdint>
#include <optional>

#include "base/result.h"
#include "vmm/boot/boot.h"
#include "vmm/memory/guest_memory.h"

namespace drupe {

/// A kernel in RAM.
struct KernelImage {
    BootProtocol protocol = BootProtocol::kLinux64;
    uint64_t entry = 0;  ///< Guest-physical address of the first instruction.
    uint64_t start = 0;  ///< [start, end): what it occupies and needs at first; nothing else goes
    uint64_t end = 0;    ///< there.
    /// The last address that an initrd may reach, and the longest command line without its NUL.
    uint64_t initrd_last = UINT32_MAX;
    size_t max_cmdline = kMaxCmdline;
    std::optional<setup_header> header;  ///< A bzImage's.
};

/// Loads an ELF vmlinux or a bzImage from a regular file into RAM that was never written (bss is
/// not zeroed). Nothing lands below arch::kHighMemory or outside RAM. kInvalid or kUnsupported for
/// a file that isn't such a kernel, kLimit if the machine has too little memory for it.
///
/// ELF: 64-bit x86-64 executables. Linux's own entry (e_entry is a physical address inside a
/// segment) is preferred to PVH's (an ELF note, XEN_ELFNOTE_PHYS32_ENTRY); `protocol` asks for one.
/// bzImage: boot protocol 2.12 or later with a 64-bit entry (Documentation/arch/x86/boot.rst).
[[nodiscard]] Result<KernelImage> load_kernel(int fd, const GuestMemory& memory,
                                              KernelLoading loading = KernelLoading::kRead,
                                              std::optional<BootProtocol> protocol = std::nullopt);

}  // namespace drupe
