#pragma once

#include <string>

#include "base/fd.h"
#include "base/result.h"

namespace drupe::engine {

/// A listening socket at FOLDER/control, for its owner alone. It listens from here on, so that a
/// client may connect before the monitor is up; the monitor calls listen() again and becomes the
/// one SO_PEERCRED names.
[[nodiscard]] Result<Fd> make_control_socket(const std::string& folder);

/// A part of the installation, to be read: a regular file. `what` and `advice` are for the error.
[[nodiscard]] Result<Fd> open_part(const std::string& path, const char* what, const char* advice);

[[nodiscard]] Result<Fd> open_kvm(const std::string& path);

}  // namespace drupe::engine
