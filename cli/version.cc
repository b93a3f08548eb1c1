#include <fmt/format.h>
#include <sys/utsname.h>

#include <nlohmann/json.hpp>

#include "base/json_reader.h"
#include "cli/command.h"

namespace drupe::cli {

int version_command(int argc, char** argv) {
    bool json = false;
    Args args("version", "", "Print the version.");
    args.flag("--json", json, "Print a JSON object");
    args.example("drupe version --json", "for scripts");
    if (const auto code = args.parse(argc, argv)) return *code;
    utsname host{};
    ::uname(&host);
    if (json) {
        return print(dump_json({{"Version", DRUPE_VERSION},
                                {"Os", "linux"},
                                {"Arch", "amd64"},
                                {"KernelVersion", host.release}}) +
                     "\n");
    }
    return print(fmt::format("drupe version {}\n OS/Arch:      linux/amd64\n Host kernel:  {}\n",
                             DRUPE_VERSION, host.release));
}

}  // namespace drupe::cli
