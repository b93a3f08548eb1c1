#pragma once

#include <array>

#include "guest-init/protocol.h"
#include "guest-init/spawn.h"

namespace drupe::init {

/// The child's side of spawn(): joins or makes its namespaces, becomes the user, executes the
/// program. What goes wrong is written to the close-on-exec descriptor `report`: an i32 errno and a
/// text.
[[noreturn]] void become_container_process(const protocol::Start& order, const SpawnPlace& place,
                                           const std::array<int, 3>& stdio, int report);

}  // namespace drupe::init
