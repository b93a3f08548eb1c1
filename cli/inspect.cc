#include <nlohmann/json.hpp>

#include "cli/command.h"
#include "cli/daemon.h"
#include "cli/template.h"

namespace drupe::cli {
namespace {

constexpr int kIndent = 4;

/// The document of a container or an image, as the daemon has it.
Result<std::string> describe(client::Client& client, const std::string& name,
                             const std::string& type) {
    if (type.empty() || type == "container") {
        auto container = client.request(make_request("GET", container_path(name, "/json")));
        if (container) return std::move(container).value().body;
        if (container.error().code != ErrorCode::kNotFound || type == "container") {
            return container.error();
        }
    }
    if (type == "volume" || type == "network") {
        TRY_ASSIGN(auto found,
                   client.request(make_request("GET", "/" + type + "s/" + client::escape(name))));
        return std::move(found.body);
    }
    auto image = client.request(make_request("GET", image_path(name, "/json")));
    if (image) return std::move(image).value().body;
    if (image.error().code == ErrorCode::kNotFound && type.empty()) {
        return Error{ErrorCode::kNotFound, "No such object: " + name};
    }
    return image.error();
}

}  // namespace

int inspect_command(int argc, char** argv) {
    std::vector<std::string> names;
    std::string format;
    std::string type;
    bool json = false;
    Args args("inspect", "NAME|ID [NAME|ID...]",
              "Print all that is known of containers or images, as JSON.");
    args.value("-f,--format", "TEMPLATE", format,
               "A part of it: '{{.State.Status}}', '{{json .Config}}'");
    args.value("--type", "TYPE", type,
               "container, image, volume or network (default: a container or an image)");
    args.flag("--json", json, "Print JSON (what it does anyway)");
    args.operands(names, 1, SIZE_MAX);
    args.example("drupe inspect -f '{{.State.ExitCode}}' web", "how it ended");
    if (const auto code = args.parse(argc, argv)) return *code;
    if (!type.empty() && type != "container" && type != "image" && type != "volume" &&
        type != "network") {
        return fail({ErrorCode::kInvalid, "--type is container, image, volume or network"},
                    kUsageError);
    }
    auto client = connect_daemon();
    if (!client) return fail(client.error());
    auto documents = nlohmann::ordered_json::array();
    std::string rendered;
    int code = 0;
    for (const std::string& name : names) {
        const auto text = describe(client.value(), name, type);
        if (!text) {
            code = fail(text.error());
            continue;
        }
        auto document = nlohmann::ordered_json::parse(text.value(), nullptr, false);
        if (!format.empty()) {
            const auto part = render(format, nlohmann::json(document));
            if (!part) return fail(part.error());
            rendered += part.value() + "\n";
        }
        documents.push_back(std::move(document));
    }
    const int printed = print(format.empty() ? documents.dump(kIndent) + "\n" : rendered);
    return printed != 0 ? printed : code;
}

}  // namespace drupe::cli
