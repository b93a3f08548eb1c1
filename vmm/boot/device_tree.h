#pragma once

#include <cstddef>
#include <vector>

#include "base/result.h"
#include "vmm/boot/hardware.h"

namespace drupe {

/// A flattened device tree (Devicetree Specification 0.4) that x86-64 Linux boots from: CPUs, local
/// and I/O APIC (the ce4100 bindings of arch/x86/kernel/devicetree.c), virtio-mmio devices, the
/// power register as syscon-poweroff, the panic notice as qemu,pvpanic-mmio and the generation id
/// (vmgenid.h), which the tree's owner has to set.
[[nodiscard]] Result<std::vector<std::byte>> make_device_tree(const Hardware& hardware);

}  // namespace drupe
