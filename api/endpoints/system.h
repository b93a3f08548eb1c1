#pragma once

#include "api/endpoints/call.h"

namespace drupe::endpoints {

Status ping(const Call& call);  // system.cc
Status version(const Call& call);
Status info(const Call& call);           // info.cc
Status system_df(const Call& call);      // system_df.cc
Status system_events(const Call& call);  // events.cc

}  // namespace drupe::endpoints
