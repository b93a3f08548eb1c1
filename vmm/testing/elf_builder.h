#pragma once

#include <elf.h>

#include <cstring>
#include <string>
#include <vector>

#include "base/fd.h"
#include "vmm/testing/memfd.h"

namespace drupe::testing {

/// Makes kernels for tests: a right one unless a field is changed before file().
struct ElfBuilder {
    Elf64_Ehdr header{};
    std::vector<Elf64_Phdr> segments;
    std::vector<std::byte> contents;  ///< What follows the program headers' place, from kContents.

    static constexpr uint64_t kContents = 0x1000;

    explicit ElfBuilder(uint64_t entry = 0x100000) {
        std::memcpy(header.e_ident, ELFMAG, SELFMAG);
        header.e_ident[EI_CLASS] = ELFCLASS64;
        header.e_ident[EI_DATA] = ELFDATA2LSB;
        header.e_ident[EI_VERSION] = EV_CURRENT;
        header.e_type = ET_EXEC;
        header.e_machine = EM_X86_64;
        header.e_version = EV_CURRENT;
        header.e_ehsize = sizeof(Elf64_Ehdr);
        header.e_phentsize = sizeof(Elf64_Phdr);
        header.e_phoff = sizeof(Elf64_Ehdr);
        header.e_entry = entry;
    }

    Elf64_Phdr& add(uint32_t type, uint64_t address, std::span<const std::byte> bytes,
                    uint64_t extra_memory = 0) {
        Elf64_Phdr segment{};
        segment.p_type = type;
        segment.p_offset = kContents + contents.size();
        segment.p_paddr = address;
        segment.p_filesz = bytes.size();
        segment.p_memsz = bytes.size() + extra_memory;
        contents.insert(contents.end(), bytes.begin(), bytes.end());
        header.e_phnum = static_cast<uint16_t>(segments.size() + 1);
        return segments.emplace_back(segment);
    }
    Elf64_Phdr& add_code(std::span<const std::byte> code, uint64_t address = 0x100000) {
        return add(PT_LOAD, address, code);
    }
    /// A note segment with XEN_ELFNOTE_PHYS32_ENTRY.
    Elf64_Phdr& add_pvh_note(uint64_t entry) {
        struct {
            Elf64_Nhdr header{4, 8, 18};
            char name[4] = {'X', 'e', 'n', '\0'};
            uint64_t entry = 0;
        } note;
        note.entry = entry;
        std::vector<std::byte> bytes(sizeof note.header + 4 + 8);
        std::memcpy(bytes.data(), &note.header, sizeof note.header);
        std::memcpy(bytes.data() + sizeof note.header, note.name, 4);
        std::memcpy(bytes.data() + sizeof note.header + 4, &entry, 8);
        return add(PT_NOTE, 0, bytes);
    }

    [[nodiscard]] std::vector<std::byte> bytes() const {
        std::vector<std::byte> out(kContents);
        std::memcpy(out.data(), &header, sizeof header);
        if (!segments.empty()) {
            std::memcpy(out.data() + sizeof header, segments.data(),
                        segments.size() * sizeof(Elf64_Phdr));
        }
        out.insert(out.end(), contents.begin(), contents.end());
        return out;
    }
    [[nodiscard]] Fd file() const { return make_memfd(bytes()); }
};

}  // namespace drupe::testing
