#include "vmm/boot/boot.h"

#include <asm/bootparam.h>
#include <fmt/core.h>

#include <algorithm>
#include <cstring>
#include <span>
#include <vector>

#include "base/check.h"
#include "vmm/arch/x86_64/layout.h"
#include "vmm/arch/x86_64/mp_table.h"
#include "vmm/boot/device_tree.h"
#include "vmm/boot/image_file.h"
#include "vmm/boot/kernel_image.h"

namespace drupe {
namespace {

constexpr uint64_t kPage = 4096;
constexpr uint8_t kLoaderUndefined = 0xff;

struct Initrd {
    uint64_t address = 0;
    uint64_t size = 0;
};

Status write_bytes(const GuestMemory& memory, uint64_t address, std::span<const std::byte> bytes) {
    const auto slice = memory.slice(address, bytes.size());
    if (!slice) return Error{ErrorCode::kLimit, "the machine has too little memory to boot"};
    slice->copy_from(bytes);
    return ok();
}

/// As high as the kernel allows, in RAM below the gap, clear of the kernel.
Result<Initrd> load_initrd(int fd, const KernelImage& kernel, const GuestMemory& memory) {
    if (fd < 0) return Initrd{};
    TRY_ASSIGN(const ImageFile file, ImageFile::create(fd, "initrd"));
    if (file.size() == 0) return file.error(ErrorCode::kInvalid, "it is empty");
    const MemoryRegion& low = memory.regions().front();
    const uint64_t top = std::min(low.guest_address + low.size, kernel.initrd_last + 1);
    const Error too_big = file.error(
        ErrorCode::kLimit,
        fmt::format("its {} bytes don't fit beside the kernel: the machine needs more memory",
                    file.size()));
    if (file.size() > top) return too_big;
    const uint64_t address = (top - file.size()) & ~(kPage - 1);
    if (address < arch::kHighMemory) return too_big;
    if (address < kernel.end && kernel.start < address + file.size()) return too_big;
    TRY(file.load(0, file.size(), memory, address, KernelLoading::kRead));
    return Initrd{address, file.size()};
}

Result<std::string> build_cmdline(const BootConfig& config, const Hardware& hardware,
                                  const KernelImage& kernel) {
    std::string line;
    // In front: what follows "--" is init's.
    if (config.devices == DeviceDescription::kMpTable) {
        for (const Hardware::Device& device : hardware.virtio_mmio) {
            line += fmt::format("virtio_mmio.device={}K@{:#x}:{} ", device.size >> 10,
                                device.address, device.gsi);
        }
    }
    line += config.cmdline;
    if (std::any_of(line.begin(), line.end(), [](unsigned char c) { return c < ' ' || c == 0x7f; }))
        return Error{ErrorCode::kInvalid, "the kernel's command line has a control character"};
    if (line.size() > kernel.max_cmdline) {
        return Error{ErrorCode::kLimit, fmt::format("the kernel's command line has {} bytes; it "
                                                    "takes at most {}",
                                                    line.size(), kernel.max_cmdline)};
    }
    return line;
}

/// The device tree as setup data: a setup_data header, then the tree.
Status write_device_tree(const Hardware& hardware, const GuestMemory& memory) {
    TRY_ASSIGN(const std::vector<std::byte> tree, make_device_tree(hardware));
    setup_data header{};
    header.type = SETUP_DTB;
    header.len = static_cast<uint32_t>(tree.size());
    DRUPE_CHECK(sizeof header + tree.size() <= arch::kSetupDataEnd - arch::kSetupData);
    TRY(write_bytes(memory, arch::kSetupData, std::as_bytes(std::span(&header, 1))));
    return write_bytes(memory, arch::kSetupData + sizeof header, tree);
}

Status write_boot_params(const KernelImage& kernel, const Initrd& initrd, size_t cmdline_size,
                         bool device_tree, const GuestMemory& memory) {
    boot_params params{};
    if (kernel.header) {
        params.hdr = *kernel.header;
    } else {
        params.hdr.boot_flag = 0xaa55;
        params.hdr.header = 0x53726448;  // "HdrS"
        params.hdr.kernel_alignment = 0x1000000;
        params.hdr.cmdline_size = static_cast<uint32_t>(cmdline_size);
    }
    params.hdr.type_of_loader = kLoaderUndefined;
    params.hdr.cmd_line_ptr = static_cast<uint32_t>(arch::kCmdline);
    params.hdr.ramdisk_image = static_cast<uint32_t>(initrd.address);
    params.hdr.ramdisk_size = static_cast<uint32_t>(initrd.size);
    params.hdr.setup_data = device_tree ? arch::kSetupData : 0;
    for (const arch::E820Entry& entry : arch::e820_map(memory)) {
        boot_e820_entry& out = params.e820_table[params.e820_entries++];
        out.addr = entry.address;
        out.size = entry.size;
        out.type = static_cast<uint32_t>(entry.type);
    }
    static_assert(sizeof params == kPage && arch::kBootParams + kPage <= arch::kBootStackTop);
    return write_bytes(memory, arch::kBootParams, std::as_bytes(std::span(&params, 1)));
}

/// Xen's public headers, arch-x86/hvm/start_info.h (version 1).
struct PvhStartInfo {
    uint32_t magic = 0x336ec578;
    uint32_t version = 1;
    uint32_t flags = 0;
    uint32_t module_count = 0;
    uint64_t modules = 0;
    uint64_t cmdline = 0;
    uint64_t rsdp = 0;
    uint64_t memory_map = 0;
    uint32_t memory_map_entries = 0;
    uint32_t reserved = 0;
};
struct PvhModule {
    uint64_t address = 0;
    uint64_t size = 0;
    uint64_t cmdline = 0;
    uint64_t reserved = 0;
};
struct PvhMemoryMapEntry {
    uint64_t address = 0;
    uint64_t size = 0;
    uint32_t type = 0;
    uint32_t reserved = 0;
};

Status write_pvh_start_info(const Initrd& initrd, const GuestMemory& memory) {
    constexpr uint64_t kModule = arch::kPvhStartInfo + 0x100;
    constexpr uint64_t kMap = arch::kPvhStartInfo + 0x200;
    std::vector<PvhMemoryMapEntry> map;
    for (const arch::E820Entry& entry : arch::e820_map(memory))
        map.push_back({entry.address, entry.size, static_cast<uint32_t>(entry.type), 0});

    PvhStartInfo info;
    info.cmdline = arch::kCmdline;
    info.memory_map = kMap;
    info.memory_map_entries = static_cast<uint32_t>(map.size());
    if (initrd.size != 0) {
        info.module_count = 1;
        info.modules = kModule;
        const PvhModule module{initrd.address, initrd.size};
        TRY(write_bytes(memory, kModule, std::as_bytes(std::span(&module, 1))));
    }
    TRY(write_bytes(memory, kMap, std::as_bytes(std::span(map))));
    return write_bytes(memory, arch::kPvhStartInfo, std::as_bytes(std::span(&info, 1)));
}

}  // namespace

Result<BootEntry> load_boot(const BootConfig& config, const Hardware& hardware,
                            const GuestMemory& memory) {
    TRY_ASSIGN(const KernelImage kernel,
               load_kernel(config.kernel_fd, memory, config.loading, config.protocol));
    const bool device_tree = config.devices == DeviceDescription::kDeviceTree;
    if (device_tree && kernel.protocol == BootProtocol::kPvh) {
        return Error{ErrorCode::kUnsupported,
                     "a kernel entered by PVH can't be handed a device tree: use the MP table"};
    }
    TRY_ASSIGN(const Initrd initrd, load_initrd(config.initrd_fd, kernel, memory));
    TRY_ASSIGN(const std::string cmdline, build_cmdline(config, hardware, kernel));
    const auto* const text = cmdline.c_str();
    TRY(write_bytes(memory, arch::kCmdline, std::as_bytes(std::span(text, cmdline.size() + 1))));
    if (device_tree) {
        TRY(write_device_tree(hardware, memory));
    } else {
        TRY(write_bytes(memory, arch::kMpTable, arch::make_mp_table(hardware.vcpus)));
    }
    if (kernel.protocol == BootProtocol::kPvh) {
        TRY(write_pvh_start_info(initrd, memory));
    } else {
        TRY(write_boot_params(kernel, initrd, cmdline.size(), device_tree, memory));
    }
    return BootEntry{kernel.protocol, kernel.entry};
}

}  // namespace drupe
