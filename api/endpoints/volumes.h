#pragma once

#include "api/endpoints/call.h"

namespace drupe::endpoints {

Status list_volumes(const Call& call);
Status inspect_volume(const Call& call);
Status create_volume(const Call& call);
Status delete_volume(const Call& call);
Status prune_volumes(const Call& call);

/// For GET /system/df.
[[nodiscard]] Result<Json> volume_usage(const Call& call, engine::Images& images);

}  // namespace drupe::endpoints
