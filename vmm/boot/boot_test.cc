#include "vmm/boot/boot.h"

#include <asm/bootparam.h>
#include <gtest/gtest.h>

#include <cstring>

#include "vmm/arch/x86_64/layout.h"
#include "vmm/testing/bzimage_builder.h"
#include "vmm/testing/elf_builder.h"

namespace drupe {
namespace {

using testing::BzImageBuilder;
using testing::ElfBuilder;

constexpr uint64_t kRam = 32 * arch::kMiB;
constexpr uint64_t kStart = 16 * arch::kMiB;

class BootTest : public ::testing::Test {
  protected:
    BootTest() : memory_(std::move(GuestMemory::create(arch::ram_ranges(kRam))).value()) {
        ElfBuilder elf(kStart);
        elf.add(PT_LOAD, kStart, std::vector<std::byte>(0x1000, std::byte{0x90}));
        elf.add_pvh_note(kStart);
        kernel_ = elf.file();
        config_.kernel_fd = kernel_.get();
        config_.cmdline = "quiet -- init-argument";
        hardware_.virtio_mmio = {{0xd0000000, 0x1000, 5}, {0xd0001000, 0x1000, 6}};
    }
    void give_initrd(size_t size) {
        initrd_ = testing::make_memfd(std::vector<std::byte>(size, std::byte{0x42}));
        config_.initrd_fd = initrd_.get();
    }
    Result<BootEntry> load() { return load_boot(config_, hardware_, memory_); }
    /// Its fields are packed: the tests' unary + makes values of them.
    [[nodiscard]] boot_params params() const {
        return memory_.read<boot_params>(arch::kBootParams).value();
    }
    [[nodiscard]] std::string cmdline() const {
        std::string text(kMaxCmdline + 1, '\0');
        memory_.slice(arch::kCmdline, text.size())
            ->copy_to(std::as_writable_bytes(std::span(text)));
        return text.c_str();
    }

    GuestMemory memory_;
    Fd kernel_;
    Fd initrd_;
    BootConfig config_;
    Hardware hardware_;
};

TEST_F(BootTest, TheTreeIsSetupDataAndTheCommandLineIsLeftAlone) {
    EXPECT_EQ(load().value().address, kStart);
    EXPECT_EQ(cmdline(), "quiet -- init-argument");
    ASSERT_EQ(+params().hdr.setup_data, arch::kSetupData);
    EXPECT_EQ(memory_.read<uint64_t>(arch::kSetupData), 0U) << "next";
    EXPECT_EQ(memory_.read<uint32_t>(arch::kSetupData + 8), uint32_t{SETUP_DTB});
    EXPECT_EQ(memory_.read<uint32_t>(arch::kSetupData + 16), 0xedfe0dd0U);
    EXPECT_EQ(memory_.read<uint32_t>(arch::kMpTable), 0U);
}

TEST_F(BootTest, WithoutATreeDevicesAreOnTheCommandLineBeforeInitsArguments) {
    config_.devices = DeviceDescription::kMpTable;
    ASSERT_TRUE(load());
    EXPECT_EQ(cmdline(),
              "virtio_mmio.device=4K@0xd0000000:5 virtio_mmio.device=4K@0xd0001000:6 "
              "quiet -- init-argument");
    EXPECT_EQ(+params().hdr.setup_data, 0U);
    EXPECT_EQ(memory_.read<uint32_t>(arch::kMpTable), 0x5f504d5fU) << "_MP_";
}

TEST_F(BootTest, PvhGetsItsStartInfoAndRefusesATree) {
    config_.protocol = BootProtocol::kPvh;
    const auto with_tree = load();
    ASSERT_FALSE(with_tree);
    EXPECT_EQ(with_tree.error().code, ErrorCode::kUnsupported);
    config_.devices = DeviceDescription::kMpTable;
    give_initrd(5000);
    EXPECT_EQ(load().value().protocol, BootProtocol::kPvh);
    EXPECT_EQ(memory_.read<uint32_t>(arch::kPvhStartInfo), 0x336ec578U);
    const uint64_t module = memory_.read<uint64_t>(arch::kPvhStartInfo + 16).value();
    EXPECT_EQ(memory_.read<uint64_t>(module), kRam - 8192);
    EXPECT_EQ(memory_.read<uint64_t>(module + 8), 5000U);
    const uint64_t map = memory_.read<uint64_t>(arch::kPvhStartInfo + 40).value();
    EXPECT_EQ(memory_.read<uint64_t>(map + 2 * 24), arch::kHighMemory);
}

TEST_F(BootTest, TheInitrdIsAtTheEndOfLowRam) {
    give_initrd(5000);
    ASSERT_TRUE(load());
    const boot_params params = this->params();
    EXPECT_EQ(+params.hdr.ramdisk_image, kRam - 8192);
    EXPECT_EQ(+params.hdr.ramdisk_size, 5000U);
    EXPECT_EQ(memory_.read<uint8_t>(kRam - 8192 + 4999), 0x42);
    EXPECT_EQ(memory_.read<uint8_t>(kRam - 8192 + 5000), 0);
}

TEST_F(BootTest, ABzImagesLimitsAreKept) {
    BzImageBuilder builder;
    builder.header.initrd_addr_max = 30 * arch::kMiB - 1;
    builder.header.cmdline_size = 10;
    kernel_ = builder.file();
    config_.kernel_fd = kernel_.get();
    give_initrd(4096);
    EXPECT_EQ(load().error().code, ErrorCode::kLimit) << "the command line";
    config_.cmdline = "quiet";
    ASSERT_TRUE(load());
    EXPECT_EQ(+params().hdr.ramdisk_image, 30 * arch::kMiB - 4096);
    EXPECT_EQ(+params().hdr.version, +builder.header.version);
}

TEST_F(BootTest, AnInitrdThatDoesntFitIsRefused) {
    for (const uint64_t size :
         {kRam - kStart, kRam - kStart - 0x1000 + 1, kRam, kRam - arch::kMiB, uint64_t{0}}) {
        give_initrd(size);
        const auto entry = load();
        ASSERT_FALSE(entry) << size;
        EXPECT_EQ(entry.error().code, size == 0 ? ErrorCode::kInvalid : ErrorCode::kLimit);
    }
    give_initrd(kRam - kStart - 0x1000);
    EXPECT_TRUE(load());
}

TEST_F(BootTest, ACommandLineHasAMaximumAndNoControlCharacters) {
    config_.cmdline = std::string(kMaxCmdline, 'a');
    EXPECT_TRUE(load());
    EXPECT_EQ(cmdline().size(), kMaxCmdline);
    config_.cmdline += 'a';
    EXPECT_EQ(load().error().code, ErrorCode::kLimit);
    for (const char c : {'\n', '\0', '\x7f', '\x1b'}) {
        config_.cmdline = std::string("quiet") + c;
        EXPECT_EQ(load().error().code, ErrorCode::kInvalid);
    }
}

TEST_F(BootTest, TheMemoryMapIsInBootParams) {
    ASSERT_TRUE(load());
    const boot_params params = this->params();
    ASSERT_EQ(+params.e820_entries, 3);
    EXPECT_EQ(+params.e820_table[2].addr, arch::kHighMemory);
    EXPECT_EQ(+params.e820_table[2].size, kRam - arch::kHighMemory);
}

}  // namespace
}  // namespace drupe
