#include <elf.h>

#include <algorithm>
#include <cstring>
#include <vector>

#include "vmm/arch/x86_64/layout.h"
#include "vmm/boot/image_file.h"

namespace drupe {
namespace {

constexpr uint16_t kMaxSegments = 64;
constexpr uint64_t kMaxNoteBytes = 64 << 10;
constexpr uint32_t kXenNotePhys32Entry = 18;  // XEN_ELFNOTE_PHYS32_ENTRY
constexpr char kXenNoteName[] = "Xen";

Result<Elf64_Ehdr> read_header(const ImageFile& file) {
    Elf64_Ehdr header{};
    TRY(file.read(0, std::as_writable_bytes(std::span(&header, 1))));
    if (header.e_ident[EI_CLASS] != ELFCLASS64 || header.e_ident[EI_DATA] != ELFDATA2LSB ||
        header.e_machine != EM_X86_64 || header.e_type != ET_EXEC) {
        return file.error(ErrorCode::kUnsupported, "not an ELF executable for x86-64");
    }
    if (header.e_phentsize != sizeof(Elf64_Phdr) || header.e_phnum == 0 ||
        header.e_phnum > kMaxSegments) {
        return file.error(ErrorCode::kInvalid, "its program headers have a wrong size or number");
    }
    return header;
}

/// The RAM that a segment takes, all checked but against other segments.
Status check_segment(const ImageFile& file, const Elf64_Phdr& segment, const GuestMemory& memory) {
    if (segment.p_filesz > segment.p_memsz || !file.contains(segment.p_offset, segment.p_filesz))
        return file.error(ErrorCode::kInvalid, "a segment leaves the file");
    if (segment.p_paddr < arch::kHighMemory)
        return file.error(ErrorCode::kInvalid, "a segment wants to be loaded below 1 MiB");
    if (!memory.slice(segment.p_paddr, segment.p_memsz)) {
        return file.error(ErrorCode::kLimit, "a segment of " + std::to_string(segment.p_memsz) +
                                                 " bytes at " + std::to_string(segment.p_paddr) +
                                                 " doesn't fit into the RAM");
    }
    return ok();
}

Result<std::vector<Elf64_Phdr>> checked_segments(const ImageFile& file,
                                                 std::span<const Elf64_Phdr> all,
                                                 const GuestMemory& memory) {
    std::vector<Elf64_Phdr> loads;
    for (const Elf64_Phdr& segment : all) {
        if (segment.p_type != PT_LOAD || segment.p_memsz == 0) continue;
        TRY(check_segment(file, segment, memory));
        loads.push_back(segment);
    }
    if (loads.empty()) return file.error(ErrorCode::kInvalid, "it has nothing to load");
    std::sort(loads.begin(), loads.end(),
              [](const Elf64_Phdr& a, const Elf64_Phdr& b) { return a.p_paddr < b.p_paddr; });
    for (size_t i = 1; i < loads.size(); ++i) {
        // No overflow: each lies in RAM.
        if (loads[i].p_paddr < loads[i - 1].p_paddr + loads[i - 1].p_memsz)
            return file.error(ErrorCode::kInvalid, "its segments overlap");
    }
    return loads;
}

/// PVH's entry in one note segment (elf(5): name and descriptor are padded to 4 bytes).
std::optional<uint64_t> find_pvh_entry(std::span<const std::byte> notes) {
    const auto padded = [](uint32_t size) { return (uint64_t{size} + 3) & ~uint64_t{3}; };
    while (notes.size() >= sizeof(Elf64_Nhdr)) {
        Elf64_Nhdr note{};
        std::memcpy(&note, notes.data(), sizeof note);
        notes = notes.subspan(sizeof note);
        const uint64_t name_size = padded(note.n_namesz);
        if (name_size > notes.size() || padded(note.n_descsz) > notes.size() - name_size) break;
        const std::byte* const name = notes.data();
        const std::byte* const value = notes.data() + name_size;
        if (note.n_type == kXenNotePhys32Entry && note.n_namesz == sizeof kXenNoteName &&
            std::memcmp(name, kXenNoteName, sizeof kXenNoteName) == 0 &&
            (note.n_descsz == sizeof(uint32_t) || note.n_descsz == sizeof(uint64_t))) {
            uint64_t entry = 0;
            std::memcpy(&entry, value, note.n_descsz);
            return entry;
        }
        notes = notes.subspan(name_size + padded(note.n_descsz));
    }
    return std::nullopt;
}

Result<std::optional<uint64_t>> read_pvh_entry(const ImageFile& file,
                                               std::span<const Elf64_Phdr> segments) {
    for (const Elf64_Phdr& segment : segments) {
        if (segment.p_type != PT_NOTE) continue;
        if (segment.p_filesz > kMaxNoteBytes)
            return file.error(ErrorCode::kInvalid, "its notes are too long");
        std::vector<std::byte> notes(segment.p_filesz);
        TRY(file.read(segment.p_offset, notes));
        if (const auto entry = find_pvh_entry(notes)) return entry;
    }
    return std::nullopt;
}

}  // namespace

Result<KernelImage> load_elf(const ImageFile& file, const GuestMemory& memory,
                             KernelLoading loading, std::optional<BootProtocol> protocol) {
    TRY_ASSIGN(const Elf64_Ehdr header, read_header(file));
    std::vector<Elf64_Phdr> all(header.e_phnum);
    TRY(file.read(header.e_phoff, std::as_writable_bytes(std::span(all))));
    TRY_ASSIGN(const std::vector<Elf64_Phdr> loads, checked_segments(file, all, memory));
    TRY_ASSIGN(const std::optional<uint64_t> pvh, read_pvh_entry(file, all));

    const auto loaded = [&](uint64_t address) {
        return std::any_of(loads.begin(), loads.end(), [&](const Elf64_Phdr& segment) {
            return address >= segment.p_paddr && address - segment.p_paddr < segment.p_filesz;
        });
    };
    KernelImage image;
    if (protocol != BootProtocol::kPvh && loaded(header.e_entry)) {
        image.entry = header.e_entry;
    } else if (protocol != BootProtocol::kLinux64 && pvh && *pvh <= UINT32_MAX && loaded(*pvh)) {
        image.protocol = BootProtocol::kPvh;
        image.entry = *pvh;
    } else {
        return file.error(ErrorCode::kInvalid, "it has no entry point that can be used");
    }
    for (const Elf64_Phdr& segment : loads) {
        TRY(file.load(segment.p_offset, segment.p_filesz, memory, segment.p_paddr, loading));
    }
    image.start = loads.front().p_paddr;
    image.end = loads.back().p_paddr + loads.back().p_memsz;
    return image;
}

}  // namespace drupe
