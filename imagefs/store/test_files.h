#pragma once

#include <sys/mman.h>

#include <cstdlib>
#include <span>
#include <string_view>

#include "base/fd.h"

namespace drupe::imagefs::test {

/// A file in memory, with holes and an inode like any other.
inline Fd memory_file(std::string_view content = {}) {
    Fd fd(::memfd_create("test", MFD_CLOEXEC));
    if (!fd.valid()) std::abort();
    if (!write_exact(fd.get(), std::as_bytes(std::span(content)), 0)) std::abort();
    return fd;
}

}  // namespace drupe::imagefs::test
