#pragma once

#include "base/result.h"

namespace drupe::init {

/// The loopback interface, and the kernel's settings: as container engines have them (the machine
/// is the container's, so are its low ports and pings), and so that an idle machine sleeps.
[[nodiscard]] Status prepare_kernel();

}  // namespace drupe::init
