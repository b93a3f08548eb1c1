// drupe info: what the daemon says of itself.

#include <fmt/format.h>

#include "base/json_reader.h"
#include "cli/command.h"
#include "cli/daemon.h"
#include "cli/template.h"
#include "cli/text.h"

namespace drupe::cli {
namespace {

Result<std::string> info_text(const nlohmann::json& json) {
    std::string version;
    std::string kernel;
    std::string root;
    std::string name;
    uint64_t containers = 0;
    uint64_t running = 0;
    uint64_t paused = 0;
    uint64_t images = 0;
    uint64_t processors = 0;
    uint64_t memory = 0;
    JsonReader in(json, "info");
    in.get("ServerVersion", version);
    in.get("KernelVersion", kernel);
    in.get("DockerRootDir", root);
    in.get("Name", name);
    in.get("Containers", containers);
    in.get("ContainersRunning", running);
    in.get("ContainersPaused", paused);
    in.get("Images", images);
    in.get("NCPU", processors);
    in.get("MemTotal", memory);
    TRY(in.status());
    return fmt::format(
        "Client:\n Version:    {}\n\nServer:\n Containers: {}\n  Running: {}\n  Paused: {}\n"
        "  Stopped: {}\n Images: {}\n Server Version: {}\n Kernel Version: {}\n CPUs: {}\n"
        " Total Memory: {}\n Name: {}\n Drupe Root Dir: {}\n",
        DRUPE_VERSION, containers, running, paused,
        containers - std::min(containers, running + paused), images, version, kernel, processors,
        binary_size(memory), name, root);
}

}  // namespace

int info_command(int argc, char** argv) {
    std::string format;
    bool json = false;
    Args args("info", "", "Show what the daemon says of itself and of its host.");
    args.value("-f,--format", "TEMPLATE", format, "A part of it: '{{.ServerVersion}}', or json");
    args.flag("--json", json, "Print a JSON object");
    args.example("drupe info --format '{{.ContainersRunning}}'", "how many run");
    if (const auto code = args.parse(argc, argv)) return *code;
    const auto document = ask(make_request("GET", "/info"));
    if (!document) return fail(document.error());
    if (json || format == "json") return print(dump_json(document.value()) + "\n");
    if (!format.empty()) {
        const auto text = render(format, document.value());
        return text ? print(text.value() + "\n") : fail(text.error());
    }
    const auto text = info_text(document.value());
    return text ? print(text.value()) : fail(text.error());
}

}  // namespace drupe::cli
