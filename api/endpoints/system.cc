// HEAD and GET /_ping, GET /version

#include "api/endpoints/system.h"

#include <sys/utsname.h>

namespace drupe::endpoints {

Status ping(const Call& call) {
    return call.http.reply(200, "text/plain; charset=utf-8",
                           call.http.request().method == "HEAD" ? "" : "OK",
                           {{"Builder-Version", "1"},
                            {"Swarm", "inactive"},
                            {"Cache-Control", "no-cache, no-store, must-revalidate"},
                            {"Pragma", "no-cache"}});
}

Status version(const Call& call) {
    utsname host{};
    ::uname(&host);
    const std::string experimental = call.daemon.experimental ? "true" : "false";
    const Json details{{"ApiVersion", http::kApiVersion},
                       {"Arch", "amd64"},
                       {"BuildTime", ""},
                       {"Experimental", experimental},
                       {"GitCommit", ""},
                       {"GoVersion", ""},
                       {"KernelVersion", host.release},
                       {"MinAPIVersion", http::kMinApiVersion},
                       {"Os", "linux"}};
    return call.answer(
        200,
        {{"Platform", {{"Name", "Drupe"}}},
         {"Components",
          Json::array({{{"Name", "Engine"}, {"Version", DRUPE_VERSION}, {"Details", details}}})},
         {"Version", DRUPE_VERSION},
         {"ApiVersion", http::kApiVersion},
         {"MinAPIVersion", http::kMinApiVersion},
         {"GitCommit", ""},
         {"GoVersion", ""},
         {"Os", "linux"},
         {"Arch", "amd64"},
         {"KernelVersion", host.release},
         {"Experimental", call.daemon.experimental},
         {"BuildTime", ""}});
}

}  // namespace drupe::endpoints
