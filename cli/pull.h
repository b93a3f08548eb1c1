#pragma once

#include <cstdio>
#include <string>

#include "api/client/client.h"

namespace drupe::cli {

/// Has the daemon pull an image, and says what a pull says on `out`: all of it but the name at the
/// end. quiet: nothing.
[[nodiscard]] Status pull_image(client::Client& client, const std::string& name, bool quiet,
                                std::FILE* out);

}  // namespace drupe::cli
