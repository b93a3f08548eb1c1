#include "vmm/boot/device_tree.h"

#include <fmt/core.h>
#include <libfdt.h>

#include <array>
#include <string>

#include "vmm/arch/x86_64/layout.h"
#include "vmm/power.h"
#include "vmm/vmgenid.h"

namespace drupe {
namespace {

constexpr size_t kMaxTreeBytes = 16 << 10;
constexpr uint32_t kIoapicPhandle = 1;
constexpr uint32_t kPowerPhandle = 2;
/// The second interrupt cell of intel,ce4100-ioapic: an index into the types of
/// arch/x86/kernel/devicetree.c.
constexpr uint32_t kEdgeRising = 3;

/// libfdt's sequential writer; the first error sticks.
class TreeWriter {
  public:
    TreeWriter() : buffer_(kMaxTreeBytes) {
        check(fdt_create(buffer_.data(), static_cast<int>(buffer_.size())));
        check(fdt_finish_reservemap(buffer_.data()));
    }
    /// Writes a node whose properties and children the callback writes.
    template <class Children>
    void node(const std::string& name, Children children) {
        check(fdt_begin_node(buffer_.data(), name.c_str()));
        children();
        check(fdt_end_node(buffer_.data()));
    }
    void text(const char* name, const char* value) {
        check(fdt_property_string(buffer_.data(), name, value));
    }
    void bytes(const char* name, const void* value, size_t size) {
        check(fdt_property(buffer_.data(), name, value, static_cast<int>(size)));
    }
    void flag(const char* name) { bytes(name, nullptr, 0); }
    template <class... Cells>
    void cells(const char* name, Cells... values) {
        const std::array<fdt32_t, sizeof...(values)> big{
            cpu_to_fdt32(static_cast<uint32_t>(values))...};
        bytes(name, big.data(), sizeof big);
    }
    /// <address size>, two cells each.
    void reg(uint64_t address, uint64_t size) {
        cells("reg", address >> 32, address & UINT32_MAX, size >> 32, size & UINT32_MAX);
    }
    [[nodiscard]] Result<std::vector<std::byte>> finish() {
        check(fdt_finish(buffer_.data()));
        if (error_ != 0) {
            return Error{ErrorCode::kLimit,
                         fmt::format("make the device tree: {}", fdt_strerror(error_))};
        }
        const void* const tree = buffer_.data();
        buffer_.resize(fdt_totalsize(tree));
        return std::move(buffer_);
    }

  private:
    void check(int result) {
        if (error_ == 0 && result < 0) error_ = result;
    }
    std::vector<std::byte> buffer_;
    int error_ = 0;
};

void write_cpus(TreeWriter& tree, uint32_t count) {
    tree.node("cpus", [&] {
        tree.cells("#address-cells", 1);
        tree.cells("#size-cells", 0);
        for (uint32_t id = 0; id < count; ++id) {
            tree.node(fmt::format("cpu@{:x}", id), [&] {
                tree.text("device_type", "cpu");
                tree.text("compatible", "drupe,cpu");
                tree.cells("reg", id);  // its local APIC's id
            });
        }
    });
}

void write_interrupt_controllers(TreeWriter& tree) {
    tree.node(fmt::format("lapic@{:x}", arch::kLapic), [&] {
        tree.text("compatible", "intel,ce4100-lapic");
        tree.reg(arch::kLapic, 0x1000);
    });
    tree.node(fmt::format("ioapic@{:x}", arch::kIoapic), [&] {
        tree.text("compatible", "intel,ce4100-ioapic");
        tree.reg(arch::kIoapic, 0x1000);
        tree.flag("interrupt-controller");
        tree.cells("#interrupt-cells", 2);
        tree.cells("phandle", kIoapicPhandle);
    });
}

/// Linux ends the machine through a register of its own (syscon: any MFD register block).
void write_power(TreeWriter& tree) {
    tree.node(fmt::format("power@{:x}", arch::kPowerRegister), [&] {
        tree.text("compatible", "syscon");
        tree.reg(arch::kPowerRegister, 0x1000);
        tree.cells("phandle", kPowerPhandle);
    });
    tree.node("poweroff", [&] {
        tree.text("compatible", "syscon-poweroff");
        tree.cells("regmap", kPowerPhandle);
        tree.cells("offset", 0);
        tree.cells("value", kPowerOffValue);
    });
    tree.node(fmt::format("pvpanic@{:x}", arch::kPanicRegister), [&] {
        tree.text("compatible", "qemu,pvpanic-mmio");
        tree.reg(arch::kPanicRegister, 2);
    });
}

void write_vmgenid(TreeWriter& tree) {
    tree.node(fmt::format("rng@{:x}", arch::kVmGenId), [&] {
        tree.text("compatible", "microsoft,vmgenid");
        tree.reg(arch::kVmGenId, sizeof(VmGenId::Id));
        tree.cells("interrupts", arch::kVmGenIdPin, kEdgeRising);
    });
}

}  // namespace

Result<std::vector<std::byte>> make_device_tree(const Hardware& hardware) {
    TreeWriter tree;
    tree.node("", [&] {
        tree.cells("#address-cells", 2);
        tree.cells("#size-cells", 2);
        tree.text("compatible", "drupe,microvm");
        tree.text("model", "drupe");
        tree.cells("interrupt-parent", kIoapicPhandle);
        write_cpus(tree, hardware.vcpus);
        write_interrupt_controllers(tree);
        write_power(tree);
        write_vmgenid(tree);
        for (const Hardware::Device& device : hardware.virtio_mmio) {
            tree.node(fmt::format("virtio@{:x}", device.address), [&] {
                tree.text("compatible", "virtio,mmio");
                tree.reg(device.address, device.size);
                tree.cells("interrupts", device.gsi, kEdgeRising);
            });
        }
    });
    return tree.finish();
}

}  // namespace drupe
