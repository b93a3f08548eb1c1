#pragma once

#include <sys/mman.h>

#include <span>
#include <string>

#include "base/check.h"
#include "base/fd.h"

namespace drupe::testing {

/// A regular file that holds the bytes.
inline Fd make_memfd(std::span<const std::byte> bytes) {
    Fd fd(::memfd_create("drupe-test", MFD_CLOEXEC));
    DRUPE_CHECK(fd.valid());
    const bool written = write_exact(fd.get(), bytes, 0).has_value();
    DRUPE_CHECK(written);
    return fd;
}

}  // namespace drupe::testing
