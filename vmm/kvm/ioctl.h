#pragma once

#include <sys/ioctl.h>

#include "base/result.h"

namespace drupe {

/// ioctl(2) whose error is named after the request.
template <class Argument>
[[nodiscard]] Result<int> kvm_ioctl(int fd, unsigned long request, const char* name,
                                    Argument argument) {
    const int result = ::ioctl(fd, request, argument);
    if (result < 0) return os_error(name);
    return result;
}

}  // namespace drupe
