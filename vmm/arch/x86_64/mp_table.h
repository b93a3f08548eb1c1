#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace drupe::arch {

/// The MultiProcessor Specification 1.4's floating pointer and configuration table, one after the
/// other, for kMpTable: `vcpus` (at most 32) local APICs and an IOAPIC whose pin n is ISA interrupt
/// n (edge-triggered, active high).
[[nodiscard]] std::vector<std::byte> make_mp_table(uint32_t vcpus);

}  // namespace drupe::arch
