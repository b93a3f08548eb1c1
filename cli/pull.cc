// drupe pull and push.

#include "cli/pull.h"

#include <fmt/format.h>
#include <unistd.h>

#include "cli/command.h"
#include "cli/container_options.h"
#include "cli/layer_progress.h"
#include "cli/session.h"
#include "cli/terminal.h"
#include "imagefs/oci/reference.h"

namespace drupe::cli {
namespace {

using imagefs::oci::Reference;

engine::Watch watch_on(std::FILE* out) {
    const int fd = ::fileno(out);
    const TerminalSize size = ::isatty(fd) != 0 ? terminal_size(fd) : TerminalSize{};
    auto lines = std::make_shared<LayerLines>(out, size.rows, size.columns);
    return [lines](const engine::LayerProgress& layer) { lines->show(layer); };
}

bool says_tag(const std::string& name) {
    return name.find(':', name.rfind('/') + 1) != std::string::npos ||
           name.find('@') != std::string::npos;
}

}  // namespace

Result<engine::PullReport> pull_image(engine::Local& local, const std::string& name, bool quiet,
                                      std::FILE* out) {
    TRY_ASSIGN(const Reference reference, Reference::parse(name));
    if (quiet) return local.images->pull(name, {});
    if (!says_tag(name)) fmt::print(out, "Using default tag: latest\n");
    fmt::print(out, "{}: Pulling from {}\n",
               reference.digest ? reference.digest->to_string() : reference.tag,
               reference.repository);
    std::fflush(out);
    TRY_ASSIGN(auto report, local.images->pull(name, watch_on(out)));
    fmt::print(out, "Digest: {}\nStatus: {} for {}\n", report.digest,
               report.is_newer ? "Downloaded newer image" : "Image is up to date",
               reference.familiar());
    std::fflush(out);
    return report;
}

Status provide_image(engine::Local& local, const std::string& name, const std::string& policy,
                     bool quiet) {
    if (policy == "never") return ok();
    if (policy == "missing") {
        TRY_ASSIGN(const bool there, local.images->has(name));
        if (there) return ok();
    }
    const auto reference = Reference::parse(name);
    // An id can't be pulled: what there is of it says the engine.
    if (!reference || name.starts_with("sha256:")) return ok();
    if (policy == "missing" && !quiet) {
        fmt::print(stderr, "Unable to find image '{}' locally\n", reference.value().familiar());
    }
    TRY(pull_image(local, name, quiet, stderr));
    return ok();
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
    auto local = open_engine();
    if (!local) return fail(local.error());
    const auto pulled = pull_image(*local.value(), names.front(), quiet, stdout);
    return pulled ? print(pulled.value().reference + "\n") : fail(pulled.error());
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
    auto local = open_engine();
    if (!local) return fail(local.error());
    if (!quiet) {
        const std::string text =
            fmt::format("The push refers to repository [{}/{}]\n", reference.value().registry,
                        reference.value().repository);
        if (const int code = print(text); code != 0) return code;
    }
    const auto pushed =
        local.value()->images->push(names.front(), quiet ? engine::Watch() : watch_on(stdout));
    if (!pushed) return fail(pushed.error());
    return print(quiet ? reference.value().canonical() + "\n"
                       : fmt::format("{}: digest: {} size: {}\n", reference.value().tag,
                                     pushed.value().digest, pushed.value().size_bytes));
}

}  // namespace drupe::cli
