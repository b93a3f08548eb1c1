#pragma once

#include <vector>

#include "vmm/memory/guest_memory.h"

namespace drupe {

/// For each page of a range of RAM, whole pages: 0 if nobody has touched it since it was made (or
/// discarded), so that it is zero; else 1. Reading such a page to find that out is a page fault
/// each. Only for RAM whose content can be in memory alone: the kernel doesn't tell a page that a
/// file has, or that was swapped out, from one that was never there (mincore(2)).
[[nodiscard]] std::vector<unsigned char> touched_pages(const GuestSlice& range);

}  // namespace drupe
