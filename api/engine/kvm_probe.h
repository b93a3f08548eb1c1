#pragma once

#include <cstdint>
#include <string>

#include "base/result.h"

namespace drupe::engine {

struct KvmProbe {
    int api_version = 0;
    /// Real time of 65,536 rounds of a ring-0 loop: microseconds on hardware; a /dev/kvm that
    /// emulates the guest kernel's instructions one by one takes a large part of a second.
    uint64_t loop_ns = 0;
    [[nodiscard]] bool carries_kernels() const { return loop_ns < 50'000'000; }
};

/// Makes a machine of one page and runs it. kDenied, kNotFound, kUnsupported with what to do.
[[nodiscard]] Result<KvmProbe> probe_kvm(const std::string& path);

}  // namespace drupe::engine
