#pragma once

#include <string>

#include "archive/unpack.h"
#include "base/fd.h"

namespace drupe::cli {

/// Unpacks a tar that a guest made into a folder of the host's, in a child process for which that
/// folder is the root, with none but the capabilities that give files their owners, no descriptor
/// but these two, and bounded memory. Returns when the tar has ended, or the first error (kCorrupt
/// if the child died of it).
[[nodiscard]] Result<archive::Unpacked> unpack_in_child(Fd tar, const std::string& folder,
                                                        const archive::UnpackOptions& options);

}  // namespace drupe::cli
