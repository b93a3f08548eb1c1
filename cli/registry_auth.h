#pragma once

#include <string>

#include "api/client/message.h"
#include "base/result.h"

namespace drupe::cli {

/// What this user is known by to the registry of an image, as Docker's config.json and its helpers
/// have it, for the daemon: the header X-Registry-Auth; none if nothing is known.
[[nodiscard]] Result<client::Pairs> registry_auth(const std::string& registry);

}  // namespace drupe::cli
