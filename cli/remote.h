#pragma once

// The commands, driven by a daemon (cli/daemon.h) instead of the engine in this process.

#include <string>
#include <vector>

#include "api/engine/container.h"
#include "cli/container_list.h"
#include "cli/container_options.h"

namespace drupe::cli {

int remote_run(const ContainerOptions& options, const engine::ContainerConfig& config, bool detach,
               const std::string& detach_keys);
int remote_create(const ContainerOptions& options, const engine::ContainerConfig& config);

struct RemoteAttach {
    bool start = false;  ///< It doesn't run yet.
    bool with_stdin = false;
    bool sig_proxy = true;
    std::string detach_keys;
};
int remote_attach(const std::string& name, const RemoteAttach& options);
int remote_wait(const std::vector<std::string>& names);

struct RemoteExec {
    std::string container;
    std::vector<std::string> argv;
    std::vector<std::string> env;
    std::string working_dir;
    std::string user;
    bool tty = false;
    bool interactive = false;
    bool privileged = false;
    bool detach = false;
    std::string detach_keys;
};
int remote_exec(const RemoteExec& options);

/// The query is that of GET /containers/NAME/logs, without stdout and stderr.
int remote_logs(const std::string& name, std::vector<std::pair<std::string, std::string>> query);
int remote_ps(bool all, const std::vector<Filter>& filters, const ListOptions& options);
/// The document that `inspect` prints; type as of --type.
[[nodiscard]] Result<std::string> remote_inspect(const std::string& name, const std::string& type);

}  // namespace drupe::cli
