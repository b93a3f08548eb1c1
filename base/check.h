#pragma once

namespace drupe {
[[noreturn]] void check_failed(const char* condition, const char* file, int line);
}

/// A condition that only a bug of ours can break; stays on in release builds.
/// Never for anything that a guest, a file or a client controls.
#define DRUPE_CHECK(condition) \
    ((condition) ? static_cast<void>(0) : ::drupe::check_failed(#condition, __FILE__, __LINE__))
