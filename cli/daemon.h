#pragma once

#include <string>
#include <vector>

#include "api/client/client.h"

namespace drupe::cli {

/// Whether a daemon is to do the work: -H or $DRUPE_HOST names one. Without, commands drive the
/// engine in this process; both may work on one $DRUPE_ROOT at a time.
[[nodiscard]] bool over_api();

/// A client of that daemon, connected. One that ought to serve this $DRUPE_ROOT (its socket is
/// RUN/drupe.sock) and doesn't is started: druped, from beside this program or $DRUPED, in a
/// session of its own, with what it says in ROOT/druped.log; waited for at most 10 s.
[[nodiscard]] Result<client::Client> connect_daemon();

/// "/containers/NAME" + what.
[[nodiscard]] std::string container_path(const std::string& name, const char* what = "");
[[nodiscard]] client::Request make_request(std::string method, std::string path,
                                           client::Pairs query = {}, std::string json = "");

/// One request without an answer that matters for each of the names; prints the names. 304 is fine.
/// With missing_is_fine one that isn't there is said, but is no failure.
int ask_each(const std::vector<std::string>& names, const std::string& method, const char* what,
             const client::Pairs& query = {}, bool missing_is_fine = false);

}  // namespace drupe::cli
