#include "vmm/boot/kernel_image.h"

#include <gtest/gtest.h>

#include <array>
#include <functional>

#include "vmm/arch/x86_64/layout.h"
#include "vmm/testing/bzimage_builder.h"
#include "vmm/testing/elf_builder.h"

namespace drupe {
namespace {

using testing::BzImageBuilder;
using testing::ElfBuilder;

constexpr uint64_t kRam = 32 * arch::kMiB;
constexpr uint64_t kStart = 16 * arch::kMiB;

GuestMemory make_memory(uint64_t bytes = kRam) {
    return std::move(GuestMemory::create(arch::ram_ranges(bytes))).value();
}

std::vector<std::byte> pattern(size_t size) {
    std::vector<std::byte> bytes(size);
    for (size_t i = 0; i < size; ++i) bytes[i] = static_cast<std::byte>(i * 7 + 1);
    return bytes;
}

ElfBuilder good_elf() {
    ElfBuilder elf(kStart + 0x10);
    elf.add(PT_LOAD, kStart, pattern(0x2345), 0x5000);
    elf.add(PT_LOAD, kStart + 0x10000, pattern(0x1000));
    return elf;
}

std::vector<std::byte> at(const GuestMemory& memory, uint64_t address, size_t size) {
    std::vector<std::byte> bytes(size);
    memory.slice(address, size).value().copy_to(bytes);
    return bytes;
}

ErrorCode error_of(const Fd& file, uint64_t ram = kRam) {
    const GuestMemory memory = make_memory(ram);
    const auto image = load_kernel(file.get(), memory);
    EXPECT_FALSE(image);
    return image ? ErrorCode::kInternal : image.error().code;
}

TEST(KernelImageTest, AnElfsSegmentsLandWhereTheySay) {
    for (const KernelLoading loading : {KernelLoading::kRead, KernelLoading::kMapPrivate}) {
        const GuestMemory memory = make_memory();
        const KernelImage image = load_kernel(good_elf().file().get(), memory, loading).value();
        EXPECT_EQ(image.protocol, BootProtocol::kLinux64);
        EXPECT_EQ(image.entry, kStart + 0x10);
        EXPECT_EQ(image.start, kStart);
        EXPECT_EQ(image.end, kStart + 0x11000);
        EXPECT_EQ(at(memory, kStart, 0x2345), pattern(0x2345));
        EXPECT_EQ(at(memory, kStart + 0x2345, 0x100), std::vector<std::byte>(0x100));
        EXPECT_EQ(at(memory, kStart + 0x10000, 0x1000), pattern(0x1000));
    }
}

TEST(KernelImageTest, AMappedKernelsWritesDontReachItsFile) {
    const GuestMemory memory = make_memory();
    const Fd file = good_elf().file();
    ASSERT_TRUE(load_kernel(file.get(), memory, KernelLoading::kMapPrivate));
    ASSERT_TRUE(memory.write<uint32_t>(kStart, 0xdeadbeef));
    std::array<std::byte, 4> first{};
    ASSERT_TRUE(read_exact(file.get(), first, ElfBuilder::kContents));
    EXPECT_EQ(first[0], pattern(1)[0]);
}

TEST(KernelImageTest, ThePvhEntryIsTakenOnlyIfThereIsNoOtherOrItIsAskedFor) {
    const auto load = [](ElfBuilder elf, std::optional<BootProtocol> protocol) {
        elf.add_pvh_note(kStart + 0x20);
        const GuestMemory memory = make_memory();
        return load_kernel(elf.file().get(), memory, KernelLoading::kRead, protocol);
    };
    EXPECT_EQ(load(good_elf(), std::nullopt).value().protocol, BootProtocol::kLinux64);
    const KernelImage asked = load(good_elf(), BootProtocol::kPvh).value();
    EXPECT_EQ(asked.protocol, BootProtocol::kPvh);
    EXPECT_EQ(asked.entry, kStart + 0x20);
    ElfBuilder virtual_entry = good_elf();
    virtual_entry.header.e_entry = 0xffffffff80000000;
    EXPECT_EQ(load(virtual_entry, std::nullopt).value().protocol, BootProtocol::kPvh);
    EXPECT_FALSE(load(virtual_entry, BootProtocol::kLinux64));
}

TEST(KernelImageTest, AnEntryOutsideTheLoadedBytesIsRefused) {
    for (const uint64_t entry : {uint64_t{0}, kStart - 1, kStart + 0x2345, UINT64_MAX}) {
        ElfBuilder elf = good_elf();
        elf.header.e_entry = entry;
        EXPECT_EQ(error_of(elf.file()), ErrorCode::kInvalid) << std::hex << entry;
        elf.add_pvh_note(entry);
        EXPECT_EQ(error_of(elf.file()), ErrorCode::kInvalid) << std::hex << entry;
    }
}

struct HostileElf {
    const char* name;
    ErrorCode code;
    std::function<void(ElfBuilder&)> change;
};

TEST(KernelImageTest, HostileElfsAreRefused) {
    const HostileElf cases[] = {
        {"32-bit", ErrorCode::kUnsupported,
         [](ElfBuilder& e) { e.header.e_ident[EI_CLASS] = ELFCLASS32; }},
        {"big-endian", ErrorCode::kUnsupported,
         [](ElfBuilder& e) { e.header.e_ident[EI_DATA] = ELFDATA2MSB; }},
        {"other machine", ErrorCode::kUnsupported,
         [](ElfBuilder& e) { e.header.e_machine = EM_AARCH64; }},
        {"not an executable", ErrorCode::kUnsupported,
         [](ElfBuilder& e) { e.header.e_type = ET_REL; }},
        {"no headers", ErrorCode::kInvalid, [](ElfBuilder& e) { e.header.e_phnum = 0; }},
        {"too many headers", ErrorCode::kInvalid, [](ElfBuilder& e) { e.header.e_phnum = 65535; }},
        {"odd header size", ErrorCode::kInvalid, [](ElfBuilder& e) { e.header.e_phentsize = 1; }},
        {"headers past the end", ErrorCode::kInvalid,
         [](ElfBuilder& e) { e.header.e_phoff = 1 << 20; }},
        {"header offset overflows", ErrorCode::kInvalid,
         [](ElfBuilder& e) { e.header.e_phoff = UINT64_MAX - 8; }},
        {"nothing to load", ErrorCode::kInvalid,
         [](ElfBuilder& e) { e.segments[0].p_type = e.segments[1].p_type = PT_NULL; }},
        {"offset overflows", ErrorCode::kInvalid,
         [](ElfBuilder& e) { e.segments[0].p_offset = UINT64_MAX - 0x100; }},
        {"huge file size", ErrorCode::kInvalid,
         [](ElfBuilder& e) { e.segments[0].p_filesz = e.segments[0].p_memsz = UINT64_MAX; }},
        {"file size over memory size", ErrorCode::kInvalid,
         [](ElfBuilder& e) { e.segments[0].p_memsz = 1; }},
        {"huge memory size", ErrorCode::kLimit,
         [](ElfBuilder& e) { e.segments[1].p_memsz = UINT64_MAX - kStart; }},
        {"over the boot structures", ErrorCode::kInvalid,
         [](ElfBuilder& e) { e.segments[0].p_paddr = arch::kBootParams; }},
        {"just below 1 MiB", ErrorCode::kInvalid,
         [](ElfBuilder& e) { e.segments[0].p_paddr = arch::kHighMemory - 1; }},
        {"across the end of RAM", ErrorCode::kLimit,
         [](ElfBuilder& e) { e.segments[1].p_paddr = kRam - 0x800; }},
        {"in the gap", ErrorCode::kLimit,
         [](ElfBuilder& e) { e.segments[1].p_paddr = arch::kLapic; }},
        {"address overflows", ErrorCode::kLimit,
         [](ElfBuilder& e) { e.segments[1].p_paddr = UINT64_MAX - 0x10; }},
        {"overlapping segments", ErrorCode::kInvalid,
         [](ElfBuilder& e) { e.segments[1].p_paddr = kStart + 0x7000; }},
        {"a segment twice", ErrorCode::kInvalid,
         [](ElfBuilder& e) { e.segments[1] = e.segments[0]; }},
        {"huge notes", ErrorCode::kInvalid,
         [](ElfBuilder& e) { e.add_pvh_note(0).p_filesz = 1ULL << 40; }},
    };
    for (const HostileElf& hostile : cases) {
        ElfBuilder elf = good_elf();
        hostile.change(elf);
        EXPECT_EQ(error_of(elf.file()), hostile.code) << hostile.name;
    }
}

TEST(KernelImageTest, ATruncatedElfIsRefusedAtAnyLength) {
    const std::vector<std::byte> whole = good_elf().bytes();
    for (size_t size = 0; size < whole.size(); size = size < 256 ? size + 1 : size + 97) {
        const Fd file = testing::make_memfd(std::span(whole).first(size));
        EXPECT_EQ(error_of(file), ErrorCode::kInvalid) << size;
    }
}

TEST(KernelImageTest, NotesThatLieAboutTheirSizesAreContained) {
    for (const uint32_t size : {0U, 3U, 7U, 12U, 0x7fffffffU, 0xfffffffdU, UINT32_MAX}) {
        for (const size_t field : {size_t{0}, size_t{4}}) {
            ElfBuilder elf = good_elf();
            elf.header.e_entry = 0;
            const size_t note = elf.contents.size();
            elf.add_pvh_note(kStart);
            std::memcpy(elf.contents.data() + note + field, &size, sizeof size);
            EXPECT_EQ(error_of(elf.file()), ErrorCode::kInvalid) << size << " at " << field;
        }
    }
}

TEST(KernelImageTest, ABzImageIsLoadedAtItsPreferredAddress) {
    BzImageBuilder builder;
    const GuestMemory memory = make_memory();
    const KernelImage image = load_kernel(builder.file().get(), memory).value();
    EXPECT_EQ(image.entry, kStart + 0x200);
    EXPECT_EQ(image.start, kStart);
    EXPECT_EQ(image.end, kStart + builder.header.init_size);
    EXPECT_EQ(image.initrd_last, 0x7fffffffU);
    EXPECT_EQ(at(memory, kStart, builder.payload.size()), builder.payload);
    ASSERT_TRUE(image.header);
    EXPECT_EQ(+image.header->init_size, +builder.header.init_size);
}

TEST(KernelImageTest, HostileBzImagesAreRefused) {
    const std::vector<std::tuple<const char*, ErrorCode, std::function<void(BzImageBuilder&)>>>
        cases = {
            {"no magic", ErrorCode::kInvalid, [](auto& b) { b.header.header = 0; }},
            {"no boot flag", ErrorCode::kInvalid, [](auto& b) { b.header.boot_flag = 0; }},
            {"old", ErrorCode::kUnsupported, [](auto& b) { b.header.version = 0x20b; }},
            {"32-bit only", ErrorCode::kUnsupported, [](auto& b) { b.header.xloadflags = 0; }},
            {"set-up past the end", ErrorCode::kInvalid,
             [](auto& b) { b.header.setup_sects = 255; }},
            {"no payload", ErrorCode::kInvalid, [](auto& b) { b.payload.resize(0x200); }},
            {"over the boot structures", ErrorCode::kInvalid,
             [](auto& b) { b.header.pref_address = 0x7000; }},
            {"outside RAM", ErrorCode::kLimit, [](auto& b) { b.header.pref_address = kRam; }},
            {"address overflows", ErrorCode::kLimit,
             [](auto& b) { b.header.pref_address = UINT64_MAX - 16; }},
            {"needs more memory than there is", ErrorCode::kLimit,
             [](auto& b) { b.header.init_size = UINT32_MAX; }},
        };
    for (const auto& [name, code, change] : cases) {
        BzImageBuilder builder;
        change(builder);
        EXPECT_EQ(error_of(builder.file()), code) << name;
    }
}

TEST(KernelImageTest, FilesThatArentKernelsAreRefused) {
    EXPECT_EQ(error_of(testing::make_memfd({})), ErrorCode::kInvalid);
    EXPECT_EQ(error_of(testing::make_memfd(pattern(100))), ErrorCode::kInvalid);
    EXPECT_EQ(error_of(testing::make_memfd(pattern(100000))), ErrorCode::kInvalid);
    const FdPair pipe = std::move(make_pipe()).value();
    EXPECT_EQ(error_of(pipe.first), ErrorCode::kInvalid);
    EXPECT_EQ(error_of(Fd()), ErrorCode::kIo);
}

}  // namespace
}  // namespace drupe
