#pragma once

#include "api/endpoints/call.h"

namespace drupe::endpoints {

Status list_networks(const Call& call);
Status inspect_network(const Call& call);
Status create_network(const Call& call);
Status delete_network(const Call& call);
Status prune_networks(const Call& call);
Status connect_network(const Call& call);  // and disconnect

}  // namespace drupe::endpoints
