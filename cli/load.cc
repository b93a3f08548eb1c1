// drupe load and drupe import.

#include <unistd.h>

#include <cerrno>

#include "api/engine/local.h"
#include "base/fd.h"
#include "cli/command.h"
#include "cli/session.h"
#include "imagefs/store/store_files.h"

namespace drupe::cli {
namespace {

constexpr size_t kCopyBytes = 1 << 20;

/// Standard input as a file, which importers need (they seek). Locked while it lives, as every file
/// there has to be: the importer's store removes what nobody holds.
Result<imagefs::TmpFile> spool_input(const std::string& folder) {
    if (::isatty(STDIN_FILENO) != 0) {
        return Error{ErrorCode::kInvalid,
                     "standard input is a terminal: name a file with -i, or redirect one"};
    }
    TRY_ASSIGN(imagefs::TmpFile file, imagefs::TmpFile::create(folder));
    std::string buffer(kCopyBytes, '\0');
    for (;;) {
        const ssize_t n = ::read(STDIN_FILENO, buffer.data(), buffer.size());
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return os_error("read standard input");
        if (n == 0) return file;
        TRY(write_all(file.fd(), std::as_bytes(std::span(buffer.data(), static_cast<size_t>(n)))));
    }
}

/// Calls work with a path: the one named, or that of a copy of standard input.
int with_input(engine::Local& local, const std::string& path,
               const std::function<int(const std::string&)>& work) {
    if (!path.empty() && path != "-") return work(path);
    const auto input = spool_input(local.engine->paths().root + "/tmp");
    if (!input) return fail(input.error());
    return work(input.value().path());
}

engine::Say reporter(bool quiet) {
    if (quiet) return {};
    return [](std::string_view line) {
        std::fprintf(stderr, "%.*s\n", static_cast<int>(line.size()), line.data());
    };
}

}  // namespace

int load_command(int argc, char** argv) {
    std::string path;
    std::string tag;
    bool quiet = false;
    std::vector<std::string> operands;
    Args args("load", "[FILE|FOLDER]",
              "Load images from a docker save archive, or an OCI layout (folder or tar).");
    args.value("-i,--input", "PATH", path, "The archive or folder (default: standard input)");
    args.value("--tag", "NAME[:TAG]", tag, "Name it so (of an image that is alone in it)");
    args.flag("-q,--quiet", quiet, "No progress");
    args.operands(operands, 0, 1);
    args.example("docker save app:1 | drupe load", "from Docker");
    args.example("skopeo copy docker://debian:12 oci:d:latest && drupe load -i d --tag debian:12",
                 "from a registry, by skopeo");
    if (const auto code = args.parse(argc, argv)) return *code;
    if (!operands.empty()) path = operands.front();
    auto local = open_engine();
    if (!local) return fail(local.error());
    return with_input(*local.value(), path, [&](const std::string& file) {
        const auto loaded = local.value()->images->load(file, tag, reporter(quiet));
        if (!loaded) return fail(loaded.error());
        std::string text;
        for (const std::string& name : loaded.value()) {
            text += (name.starts_with("sha256:") ? "Loaded image ID: " : "Loaded image: ") + name +
                    "\n";
        }
        return print(text);
    });
}

int import_command(int argc, char** argv) {
    std::vector<std::string> operands;
    bool quiet = true;
    Args args("import", "FILE|FOLDER|- [NAME[:TAG]]",
              "Make an image of one layer of a root file system: a tar or a folder.");
    args.operands(operands, 1, 2);
    args.example("mmdebstrap bookworm - | drupe import - debian:mine", "a Debian of your own");
    args.example("drupe import ./rootfs app:dev", "a folder");
    if (const auto code = args.parse(argc, argv)) return *code;
    auto local = open_engine();
    if (!local) return fail(local.error());
    const std::string name = operands.size() > 1 ? operands[1] : "";
    return with_input(*local.value(), operands[0], [&](const std::string& file) {
        const auto id = local.value()->images->import(file, name, reporter(quiet));
        return id ? print(id.value() + "\n") : fail(id.error());
    });
}

}  // namespace drupe::cli
