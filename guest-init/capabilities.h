#pragma once

#include <cstdint>

#include "base/result.h"

namespace drupe::init {

/// Takes from the calling process, and from all that it executes, what isn't among `capabilities`
/// (bit N is capability N). First the bounding set, while the process may still do that.
[[nodiscard]] Status limit_capabilities(uint64_t capabilities);
/// Then, once it has become its user: root's own sets, which have to be smaller before it executes
/// a program. Other users have none by then.
[[nodiscard]] Status drop_capabilities(uint64_t capabilities);

}  // namespace drupe::init
