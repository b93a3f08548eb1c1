#pragma once

#include <string>

#include "base/result.h"

namespace drupe::imagefs {

/// A root file system around a statically linked busybox as a layer tar: /bin with a symlink per
/// applet, users and groups, and the folders programs expect. The same bytes for the same busybox.
/// Runs `busybox --list`; kInvalid if that isn't a static busybox.
[[nodiscard]] Result<std::string> make_busybox_tar(const std::string& busybox_path);

}  // namespace drupe::imagefs
