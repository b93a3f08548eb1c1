#pragma once

#include <string>

#include "vmm/memory/guest_memory.h"

namespace drupe {

/// What a Linux kernel that panicked said, as it stands in its log in the guest's memory: for a
/// machine without a console, and for panics before the panic device's driver is there. At most
/// kMaxPanicText printable characters, the guest's own words, and up to six such lines of the cause
/// (what it calls BUG, RIP, ...); "" if there is none in the first 256 MiB. Reads memory, so it is
/// for a machine that has stopped; any thread.
inline constexpr size_t kMaxPanicText = 200;
[[nodiscard]] std::string find_panic_text(const GuestMemory& memory);

}  // namespace drupe
