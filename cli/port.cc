// drupe port.

#include <fmt/format.h>

#include "cli/command.h"
#include "cli/daemon.h"

namespace drupe::cli {

int port_command(int argc, char** argv) {
    std::vector<std::string> operands;
    Args args(
        "port", "CONTAINER [PORT[/PROTO]]",
        "List a container's published ports. There are none yet: no network carries packets.");
    args.operands(operands, 1, 2);
    args.example("drupe port web", "all of them");
    if (const auto code = args.parse(argc, argv)) return *code;
    const auto found = order(make_request("GET", container_path(operands[0], "/json")));
    if (!found) return fail(found.error());
    if (operands.size() == 1) return 0;
    return fail({ErrorCode::kNotFound,
                 fmt::format("no public port '{}' published for {}", operands[1], operands[0])});
}

}  // namespace drupe::cli
