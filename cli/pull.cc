// drupe pull and push.

#include "cli/pull.h"

#include <fmt/format.h>
#include <unistd.h>

#include "cli/command.h"
#include "cli/container_options.h"
#include "cli/daemon.h"
#include "cli/layer_progress.h"
#include "cli/progress.h"
#include "cli/registry_auth.h"
#include "cli/terminal.h"
#include "imagefs/oci/reference.h"

namespace drupe::cli {
namespace {

using imagefs::oci::Reference;

/// Shows what the daemon says of a transfer.
Status transfer(client::Client& client, const client::Request& request, bool quiet,
                std::FILE* out) {
    const int fd = ::fileno(out);
    const TerminalSize size = ::isatty(fd) != 0 ? terminal_size(fd) : TerminalSize{};
    LayerLines layers(out, size.rows, size.columns);
    return watch_progress(client, request, [&](const ProgressLine& line) -> Status {
        if (quiet) return ok();
        if (line.is_layer) {
            layers.show({line.id, line.status, line.bytes, line.total_bytes});
        } else if (!line.status.empty()) {
            fmt::print(out, "{}{}\n", line.id.empty() ? "" : line.id + ": ", line.status);
        }
        std::fflush(out);
        return ok();
    });
}

bool says_tag(const std::string& name) {
    return name.find(':', name.rfind('/') + 1) != std::string::npos ||
           name.find('@') != std::string::npos;
}

}  // namespace

Status pull_image(client::Client& client, const std::string& name, bool quiet, std::FILE* out) {
    TRY_ASSIGN(const Reference reference, Reference::parse(name));
    const std::string repository = reference.registry + "/" + reference.repository;
    auto request =
        make_request("POST", "/images/create",
                     {{"fromImage", repository},
                      {"tag", reference.digest ? reference.digest->to_string() : reference.tag}});
    TRY_ASSIGN(request.headers, registry_auth(reference.registry));
    if (!quiet && !says_tag(name)) fmt::print(out, "Using default tag: latest\n");
    return transfer(client, request, quiet, out);
}

int pull_command(int argc, char** argv) {
    std::vector<std::string> names;
    bool quiet = false;
    std::string platform;
    Args args("pull", "NAME[:TAG|@DIGEST]", "Get an image from a registry.");
    args.flag("-q,--quiet", quiet, "Print its full name only");
    args.value("--platform", "OS/ARCH", platform, "linux/amd64, which is what runs here");
    args.operands(names, 1, 1);
    args.example("drupe pull debian:12", "from Docker Hub");
    args.example("drupe pull registry.example:5000/team/app", "from another registry");
    if (const auto code = args.parse(argc, argv)) return *code;
    if (auto checked = check_platform(platform); !checked) return fail(checked.error());
    const auto reference = Reference::parse(names.front());
    if (!reference) return fail(reference.error());
    auto client = connect_daemon();
    if (!client) return fail(client.error());
    const auto pulled = pull_image(client.value(), names.front(), quiet, stdout);
    return pulled ? print(reference.value().canonical() + "\n") : fail(pulled.error());
}

int push_command(int argc, char** argv) {
    std::vector<std::string> names;
    bool quiet = false;
    Args args("push", "NAME[:TAG]", "Send an image to the registry that its name says.");
    args.flag("-q,--quiet", quiet, "Print its full name only");
    args.operands(names, 1, 1);
    args.example("drupe tag app:1 registry.example/app:1 && drupe push registry.example/app:1",
                 "to a registry");
    if (const auto code = args.parse(argc, argv)) return *code;
    const auto reference = Reference::parse(names.front());
    if (!reference) return fail(reference.error());
    const auto& to = reference.value();
    if (to.digest) {
        return fail({ErrorCode::kInvalid, "what is pushed is named by a tag: write NAME[:TAG]"});
    }
    auto request = make_request("POST", image_path(to.registry + "/" + to.repository, "/push"),
                                {{"tag", to.tag}});
    auto auth = registry_auth(to.registry);
    if (!auth) return fail(auth.error());
    request.headers = std::move(auth).value();
    auto client = connect_daemon();
    if (!client) return fail(client.error());
    const auto pushed = transfer(client.value(), request, quiet, stdout);
    if (!pushed) return fail(pushed.error());
    return quiet ? print(to.canonical() + "\n") : 0;
}

}  // namespace drupe::cli
