#include "vmm/memory/touched_pages.h"

#include <sys/mman.h>

#include <algorithm>

namespace drupe {
namespace {

constexpr size_t kPage = 4096;
constexpr unsigned char kResident = 1;  // mincore(2): the other bits mean nothing

}  // namespace

std::vector<unsigned char> touched_pages(const GuestSlice& range) {
    std::vector<unsigned char> pages(range.size() / kPage, kResident);
    const iovec memory = range.as_iovec();
    if (::mincore(memory.iov_base, memory.iov_len, pages.data()) < 0)
        std::ranges::fill(pages, kResident);
    for (unsigned char& page : pages) page &= kResident;
    return pages;
}

}  // namespace drupe
