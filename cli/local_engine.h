#pragma once

#include "api/engine/local.h"

namespace drupe::cli {

/// The engine in this process, for what looks after the store's files beside the daemon. Never
/// closed: the last one to close a database copies its log back and syncs it, and the next command
/// would pay for starting a new one.
[[nodiscard]] Result<engine::Local*> open_engine();

}  // namespace drupe::cli
