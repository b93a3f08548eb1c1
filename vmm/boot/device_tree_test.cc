#include "vmm/boot/device_tree.h"

#include <gtest/gtest.h>
#include <libfdt.h>

#include <algorithm>
#include <string>

#include "vmm/arch/x86_64/layout.h"
#include "vmm/power.h"

namespace drupe {
namespace {

/// The tree, parsed back by libfdt.
class Tree {
  public:
    explicit Tree(const Hardware& hardware)
        : bytes_(std::move(make_device_tree(hardware)).value()) {}
    [[nodiscard]] bool valid() const { return fdt_check_full(bytes_.data(), bytes_.size()) == 0; }
    [[nodiscard]] size_t size() const { return bytes_.size(); }
    [[nodiscard]] int node(const std::string& path) const {
        return fdt_path_offset(bytes_.data(), path.c_str());
    }
    [[nodiscard]] std::string text(const std::string& path, const char* name) const {
        int size = 0;
        const void* const value = fdt_getprop(bytes_.data(), node(path), name, &size);
        return value == nullptr ? "" : static_cast<const char*>(value);
    }
    [[nodiscard]] std::vector<uint32_t> cells(const std::string& path, const char* name) const {
        int size = 0;
        const auto* const value =
            static_cast<const fdt32_t*>(fdt_getprop(bytes_.data(), node(path), name, &size));
        std::vector<uint32_t> out;
        out.reserve(static_cast<size_t>(std::max(size, 0)) / 4);
        for (int i = 0; i < size / 4; ++i) out.push_back(fdt32_to_cpu(value[i]));
        return out;
    }

  private:
    std::vector<std::byte> bytes_;
};

TEST(DeviceTreeTest, EveryCpuAndDeviceIsInTheTree) {
    Hardware hardware;
    hardware.vcpus = 3;
    for (uint32_t i = 0; i < 4; ++i)
        hardware.virtio_mmio.push_back({arch::kMmioWindow + i * 0x1000, 0x1000, 5 + i});
    const Tree tree(hardware);
    ASSERT_TRUE(tree.valid());
    EXPECT_EQ(tree.cells("/cpus/cpu@2", "reg"), std::vector<uint32_t>{2});
    EXPECT_LT(tree.node("/cpus/cpu@3"), 0);
    EXPECT_EQ(tree.text("/ioapic@fec00000", "compatible"), "intel,ce4100-ioapic");
    EXPECT_EQ(tree.cells("/", "interrupt-parent"), tree.cells("/ioapic@fec00000", "phandle"));
    EXPECT_EQ(tree.text("/virtio@d0003000", "compatible"), "virtio,mmio");
    EXPECT_EQ(tree.cells("/virtio@d0003000", "reg"),
              (std::vector<uint32_t>{0, 0xd0003000, 0, 0x1000}));
    EXPECT_EQ(tree.cells("/virtio@d0003000", "interrupts"), (std::vector<uint32_t>{8, 3}));
    EXPECT_LT(tree.node("/virtio@d0004000"), 0);
}

TEST(DeviceTreeTest, PowerOffAndPanicAreDescribed) {
    const Tree tree(Hardware{});
    ASSERT_TRUE(tree.valid());
    EXPECT_EQ(tree.text("/poweroff", "compatible"), "syscon-poweroff");
    EXPECT_EQ(tree.cells("/poweroff", "value"), std::vector<uint32_t>{kPowerOffValue});
    EXPECT_EQ(tree.cells("/poweroff", "regmap"), tree.cells("/power@d0100000", "phandle"));
    EXPECT_EQ(tree.text("/pvpanic@d0101000", "compatible"), "qemu,pvpanic-mmio");
}

TEST(DeviceTreeTest, TheGenerationIdHasAPlaceAndAnInterrupt) {
    const Tree tree(Hardware{});
    ASSERT_TRUE(tree.valid());
    EXPECT_EQ(tree.text("/rng@a0000", "compatible"), "microsoft,vmgenid");
    EXPECT_EQ(tree.cells("/rng@a0000", "reg"), (std::vector<uint32_t>{0, 0xa0000, 0, 16}));
    EXPECT_EQ(tree.cells("/rng@a0000", "interrupts"), (std::vector<uint32_t>{13, 3}));
}

TEST(DeviceTreeTest, TheLargestMachineFitsItsPlace) {
    Hardware hardware;
    hardware.vcpus = 32;
    for (uint32_t i = 0; i < arch::kMmioSlots; ++i)
        hardware.virtio_mmio.push_back({arch::kMmioWindow + i * 0x1000, 0x1000, 5});
    const Tree tree(hardware);
    EXPECT_TRUE(tree.valid());
    EXPECT_LT(tree.size() + 16, arch::kSetupDataEnd - arch::kSetupData);
}

}  // namespace
}  // namespace drupe
