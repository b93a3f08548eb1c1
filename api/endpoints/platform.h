#pragma once

#include <string>

#include "base/result.h"

namespace drupe::endpoints {

/// "platform" of a pull or push: what runs here, or nothing.
[[nodiscard]] inline Status check_platform(const std::string& platform) {
    if (platform.empty() || platform == "linux/amd64" || platform == "linux" ||
        platform.starts_with("linux/amd64/")) {
        return ok();
    }
    return Error{ErrorCode::kUnsupported,
                 "platform " + platform.substr(0, 64) + ": only linux/amd64 runs here"};
}

}  // namespace drupe::endpoints
