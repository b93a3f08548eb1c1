#include "api/engine/environment.h"

#include <algorithm>

namespace drupe::engine {
namespace {

constexpr const char* kDefaultPath =
    "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

void set(std::vector<std::string>& variables, const std::string& variable) {
    const std::string name = variable.substr(0, variable.find('=') + 1);
    const auto same = [&](const std::string& other) { return other.starts_with(name); };
    const auto found = std::find_if(variables.begin(), variables.end(), same);
    if (found == variables.end()) {
        variables.push_back(variable);
    } else {
        *found = variable;
    }
}

}  // namespace

std::string host_name_of(const Container& container) {
    return container.config.host_name.empty() ? short_id(container.id) : container.config.host_name;
}

std::vector<std::string> session_environment(const Container& container,
                                             const std::vector<std::string>& more, bool tty) {
    std::vector<std::string> variables{kDefaultPath, "HOSTNAME=" + host_name_of(container)};
    if (tty) variables.emplace_back("TERM=xterm");
    for (const auto* list : {&container.config.env, &more}) {
        for (const std::string& variable : *list) {
            if (variable.find('=') != std::string::npos) set(variables, variable);
        }
    }
    return variables;
}

std::vector<protocol::ResourceLimit> session_limits(const ContainerConfig& config) {
    std::vector<protocol::ResourceLimit> limits;
    for (const Ulimit& limit : config.ulimits) {
        if (const auto resource = ulimit_resource(limit.name)) {
            limits.push_back({*resource, limit.soft, limit.hard});
        }
    }
    return limits;
}

}  // namespace drupe::engine
