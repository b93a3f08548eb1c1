#pragma once

#include <vector>

#include "vmm/memory/guest_memory.h"

namespace drupe {

/// For each page of a range of RAM, whole pages that no file is mapped to: 0 if nobody has touched
/// it since it was made (or discarded), so that it is zero; else 1. Reading such a page to find
/// that out is a page fault each. All 1 where the kernel can't tell, as on a host that swaps.
[[nodiscard]] std::vector<unsigned char> touched_pages(const GuestSlice& range);

}  // namespace drupe
