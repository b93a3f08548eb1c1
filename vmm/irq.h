#pragma once

#include <cstdint>
#include <memory>

#include "base/result.h"
#include "vmm/interrupt.h"
#include "vmm/kvm/kvm_vm.h"

namespace drupe {

/// An edge-triggered interrupt line that is raised and lowered by an irqfd: one write(2), no ioctl.
/// Destroying it disconnects the line.
[[nodiscard]] Result<std::unique_ptr<Interrupt>> make_irqfd_interrupt(const KvmVm& kvm,
                                                                      uint32_t gsi);

}  // namespace drupe
