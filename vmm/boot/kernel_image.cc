#include "vmm/boot/kernel_image.h"

#include <elf.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "vmm/arch/x86_64/layout.h"
#include "vmm/boot/image_file.h"

namespace drupe {
namespace {

constexpr uint64_t kSetupHeaderOffset = 0x1f1;
constexpr uint64_t kHeaderLengthByte = 0x201;  // the header ends this many bytes after 0x202
constexpr uint64_t kSector = 512;
constexpr uint16_t kBootFlag = 0xaa55;
constexpr uint32_t kHdrS = 0x53726448;
constexpr uint16_t kMinVersion = 0x020c;  // the first with xloadflags
constexpr uint64_t kEntry64Offset = 0x200;
constexpr uint8_t kDefaultSetupSectors = 4;

Result<setup_header> read_setup_header(const ImageFile& file) {
    std::array<std::byte, kSetupHeaderOffset + sizeof(setup_header)> start{};
    const uint64_t available = std::min<uint64_t>(start.size(), file.size());
    TRY(file.read(0, std::span(start).first(available)));
    // What lies past the header's own end is code of the real-mode part, not fields.
    const size_t end = size_t{0x202} + static_cast<uint8_t>(start[kHeaderLengthByte]);
    if (end < start.size())
        std::fill(start.begin() + static_cast<ptrdiff_t>(end), start.end(), std::byte{0});
    setup_header header{};
    std::memcpy(&header, start.data() + kSetupHeaderOffset, sizeof header);
    return header;
}

}  // namespace

Result<KernelImage> load_bzimage(const ImageFile& file, const GuestMemory& memory,
                                 KernelLoading loading) {
    TRY_ASSIGN(const setup_header header, read_setup_header(file));
    if (header.boot_flag != kBootFlag || header.header != kHdrS) {
        return file.error(ErrorCode::kInvalid, "neither an ELF vmlinux nor a bzImage");
    }
    if (header.version < kMinVersion || (header.xloadflags & XLF_KERNEL_64) == 0) {
        return file.error(ErrorCode::kUnsupported, "this bzImage has no 64-bit entry point");
    }
    const uint64_t sectors = header.setup_sects == 0 ? kDefaultSetupSectors : header.setup_sects;
    const uint64_t offset = (sectors + 1) * kSector;
    if (!file.contains(offset, kEntry64Offset + 1))
        return file.error(ErrorCode::kInvalid, "the file is truncated");

    const uint64_t payload = file.size() - offset;
    const uint64_t needed = std::max<uint64_t>(payload, header.init_size);
    const uint64_t address = header.pref_address;
    if (address < arch::kHighMemory)
        return file.error(ErrorCode::kInvalid, "it wants to be loaded below 1 MiB");
    if (!memory.slice(address, needed)) {
        return file.error(ErrorCode::kLimit, "the machine has too little memory for it: it needs " +
                                                 std::to_string(needed) + " bytes at " +
                                                 std::to_string(address));
    }
    TRY(file.load(offset, payload, memory, address, loading));

    KernelImage image;
    image.entry = address + kEntry64Offset;
    image.start = address;
    image.end = address + needed;
    if (header.initrd_addr_max != 0) image.initrd_last = header.initrd_addr_max;
    if (header.cmdline_size != 0) {
        image.max_cmdline = std::min<size_t>(kMaxCmdline, header.cmdline_size);
    }
    image.header = header;
    return image;
}

Result<KernelImage> load_kernel(int fd, const GuestMemory& memory, KernelLoading loading,
                                std::optional<BootProtocol> protocol) {
    TRY_ASSIGN(const ImageFile file, ImageFile::create(fd, "kernel"));
    std::array<std::byte, SELFMAG> magic{};
    TRY(file.read(0, magic));
    if (std::memcmp(magic.data(), ELFMAG, SELFMAG) == 0)
        return load_elf(file, memory, loading, protocol);
    if (protocol == BootProtocol::kPvh)
        return file.error(ErrorCode::kUnsupported, "only an ELF kernel can have a PVH entry");
    return load_bzimage(file, memory, loading);
}

}  // namespace drupe
