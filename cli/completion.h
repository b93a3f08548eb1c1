#pragma once

#include <string>
#include <vector>

namespace drupe::cli {

/// What may stand where the last of the words is typed, behind "drupe", one a line: a command, an
/// option, or the name of a container or an image that a running daemon has.
[[nodiscard]] std::string candidates(const std::vector<std::string>& words);

}  // namespace drupe::cli
