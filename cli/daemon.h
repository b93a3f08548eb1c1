#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "api/client/client.h"

namespace drupe::cli {

/// A client of the daemon that -H or $DRUPE_HOST names, connected; by default of the one that
/// serves this $DRUPE_ROOT, at RUN/drupe.sock. If that doesn't answer it is started: druped, from
/// beside this program or $DRUPED, in a session of its own, with its pid in RUN/druped.pid and what
/// it says in ROOT/druped.log; waited for at most 10 s.
[[nodiscard]] Result<client::Client> connect_daemon();

/// "/containers/NAME" + what.
[[nodiscard]] std::string container_path(const std::string& name, const char* what = "");
/// "/images/NAME" + what.
[[nodiscard]] std::string image_path(const std::string& name, const char* what = "");
[[nodiscard]] client::Request make_request(std::string method, std::string path,
                                           client::Pairs query = {}, std::string json = "");

/// What a request answers, as JSON.
[[nodiscard]] Result<nlohmann::json> ask(client::Client& client, const client::Request& request);
/// The same on a connection of its own.
[[nodiscard]] Result<nlohmann::json> ask(const client::Request& request);
/// The same of a daemon that runs: none is started.
[[nodiscard]] Result<nlohmann::json> ask_running(const client::Request& request);
/// A request without an answer that matters.
[[nodiscard]] Status order(const client::Request& request);

/// One request without an answer that matters for each of the names; prints the names. 304 is fine.
/// With missing_is_fine one that isn't there is said, but is no failure.
int ask_each(const std::vector<std::string>& names, const std::string& method, const char* what,
             const client::Pairs& query = {}, bool missing_is_fine = false);

}  // namespace drupe::cli
