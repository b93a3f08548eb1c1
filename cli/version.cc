// drupe version: this command's, and the daemon's if one is there.

#include <fmt/format.h>

#include "base/json_reader.h"
#include "cli/command.h"
#include "cli/daemon.h"
#include "cli/template.h"

namespace drupe::cli {
namespace {

nlohmann::json client_json() {
    return {{"Version", DRUPE_VERSION}, {"Os", "linux"}, {"Arch", "amd64"}};
}

Result<std::string> server_text(const nlohmann::json& server) {
    std::string version;
    std::string api;
    std::string least;
    std::string kernel;
    JsonReader in(server, "version");
    in.get("Version", version);
    in.get("ApiVersion", api);
    in.get("MinAPIVersion", least);
    in.get("KernelVersion", kernel);
    TRY(in.status());
    return fmt::format(
        "\nServer: druped\n Version:      {}\n API version:  {} (minimum version {})\n"
        " OS/Arch:      linux/amd64\n Host kernel:  {}\n",
        version, api, least, kernel);
}

}  // namespace

int version_command(int argc, char** argv) {
    bool json = false;
    std::string format;
    Args args("version", "", "Print the versions of this command and of the daemon.");
    args.value("-f,--format", "TEMPLATE", format, "A part of it: '{{.Server.Version}}', or json");
    args.flag("--json", json, "Print a JSON object");
    args.example("drupe version --format '{{.Client.Version}}'", "for scripts");
    if (const auto code = args.parse(argc, argv)) return *code;
    // One that doesn't run isn't started for this.
    const auto server = ask_running(make_request("GET", "/version"));
    const nlohmann::json both{{"Client", client_json()},
                              {"Server", server ? server.value() : nlohmann::json()}};
    if (json || format == "json") return print(dump_json(both) + "\n");
    if (!format.empty()) {
        const auto text = render(format, both);
        return text ? print(text.value() + "\n") : fail(text.error());
    }
    const int code = print(fmt::format(
        "Client: drupe\n Version:      {}\n OS/Arch:      linux/amd64\n", DRUPE_VERSION));
    if (code != 0 || !server) return code != 0 ? code : fail(server.error());
    const auto text = server_text(server.value());
    return text ? print(text.value()) : fail(text.error());
}

}  // namespace drupe::cli
