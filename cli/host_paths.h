#pragma once

#include <string>

#include "archive/paths.h"
#include "base/result.h"

namespace drupe::cli {

// The host's ends of `drupe cp`, as Docker's client finds them.

/// From the current folder on, with the "/" or "/." that it ends with.
[[nodiscard]] Result<std::string> absolute_path(const std::string& path);

/// A source, which has to exist. Links in its folders are followed, its last component only with
/// follow.
[[nodiscard]] Result<archive::CopyEnd> find_source(const std::string& path, bool follow);

/// A destination: exists, or could be made in a folder that does. Links are followed.
[[nodiscard]] Result<archive::CopyEnd> find_destination(const std::string& path);

}  // namespace drupe::cli
