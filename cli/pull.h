#pragma once

#include <cstdio>
#include <string>

#include "api/engine/local.h"

namespace drupe::cli {

/// Pulls, and says what a pull says on `out`: all of it but the name at the end. quiet: nothing.
[[nodiscard]] Result<engine::PullReport> pull_image(engine::Local& local, const std::string& name,
                                                    bool quiet, std::FILE* out);

/// For run and create, --pull missing|always|never: has the image pulled if need be.
[[nodiscard]] Status provide_image(engine::Local& local, const std::string& name,
                                   const std::string& policy, bool quiet);

}  // namespace drupe::cli
