#pragma once

#include <functional>
#include <string>

#include "api/client/client.h"
#include "base/fd.h"

namespace drupe::cli {

/// What the daemon says of a path in a container.
struct PathStat {
    std::string name;
    std::string link_target;  ///< Of a link: where it leads in the end, from the root on.
    bool is_folder = false;
    bool is_link = false;
    bool is_file = false;
};

/// The files of a container, whatever its state, through the daemon: HEAD, GET and PUT of
/// /containers/NAME/archive.
class ContainerArchive {
  public:
    ContainerArchive(client::Client client, std::string container)
        : client_(std::move(client)), container_(std::move(container)) {}

    /// Its error doesn't say much: the answer to a HEAD has no body.
    [[nodiscard]] Result<PathStat> stat(const std::string& path);
    /// A file or folder as a tar; at_stat is called once, with what it is, and gives what takes the
    /// bytes.
    [[nodiscard]] Status get(
        const std::string& path,
        const std::function<Result<client::BodySink>(const PathStat&)>& at_stat);
    /// Unpacks a tar in a folder of the container's.
    [[nodiscard]] Status put(const std::string& folder, bool copy_uid_gid, client::BodySource tar);

  private:
    client::Client client_;
    std::string container_;
};

}  // namespace drupe::cli
