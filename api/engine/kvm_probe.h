#pragma once

#include <string>

#include "api/engine/ring0_guest.h"
#include "base/result.h"

namespace drupe::engine {

struct KvmProbe {
    int api_version = 0;
    ring0::Run run;
};

/// Makes a machine of one large page and runs it, by the criterion of scripts/kvm-probe. kDenied,
/// kNotFound, kUnsupported with what to do.
[[nodiscard]] Result<KvmProbe> probe_kvm(const std::string& path);

}  // namespace drupe::engine
