// drupe-import: reads an image into the store of one root, or sends one to a registry, and says so
// in JSON, a line at a time: {"progress": TEXT}, {"layer": {"id", "state", "bytes", "total"}},
// {"name": REFERENCE OR ID, "digest", "newer", "size"}, {"error": TEXT, "code": NUMBER}. Started by
// the engine (importer.h), not by people.

#include <fmt/format.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <string>
#include <vector>

#include "api/engine/confined_disk.h"
#include "api/engine/import_registry.h"
#include "base/json_reader.h"
#include "imagefs/ext4/journal.h"
#include "imagefs/import/import.h"

namespace drupe {
namespace {

void say(const nlohmann::json& line) {
    std::puts(dump_json(line).c_str());
    std::fflush(stdout);
}

void say_progress(const imagefs::ImportProgress& progress) {
    if (!progress.done) return;
    say({{"progress", fmt::format("layer {}/{}: {}", progress.layer + 1, progress.layers,
                                  progress.reused ? "already there" : "imported")}});
}

Result<std::vector<imagefs::ImageSummary>> import(imagefs::Store& store, const std::string& what,
                                                  const std::string& path,
                                                  const std::string& name) {
    imagefs::ImportOptions options;
    options.reference = name;
    if (what == "images") return imagefs::import_images(store, path, options, say_progress);
    std::vector<imagefs::ImageSummary> one;
    if (what == "rootfs") {
        TRY_ASSIGN(auto image, imagefs::import_rootfs(store, path, options, say_progress));
        one.push_back(std::move(image));
        return one;
    }
    if (what == "busybox") {
        TRY_ASSIGN(auto image, imagefs::import_builtin_busybox(store, path));
        one.push_back(std::move(image));
        return one;
    }
    return Error{ErrorCode::kInvalid, "drupe-import can't import '" + what + "'"};
}

/// Prints the ID of a chain like the given one, with its file system's journal replayed: what an
/// image is made of when a top was sealed without its guest having been frozen. A sibling of the
/// sealed layer, which stays as it is for the container that goes on with it.
Status replay(imagefs::Store& store, const std::string& chain) {
    TRY_ASSIGN(const auto chain_id, imagefs::Digest::parse(chain));
    TRY_ASSIGN(const auto replayed, store.derive(chain_id, [](BlockBackend& disk) {
        return engine::with_confined_disk(disk, imagefs::ext4::replay_journal);
    }));
    say({{"name", replayed.hex()}});
    return ok();
}

Status run(const std::vector<std::string>& arguments) {
    if (is_registry_command(arguments[1])) {
        TRY_ASSIGN(
            const auto result,
            run_registry_command(arguments[0], {arguments.begin() + 1, arguments.end()}, say));
        say(result);
        return ok();
    }
    TRY_ASSIGN(auto store, imagefs::Store::open(arguments[0]));
    if (arguments[1] == "replay") return replay(store, arguments[2]);
    const std::string name = arguments.size() > 3 ? arguments[3] : "";
    TRY_ASSIGN(const auto images, import(store, arguments[1], arguments[2], name));
    for (const auto& image : images) {
        say({{"name", image.references.empty() ? image.id.to_string() : image.references.front()}});
    }
    return ok();
}

}  // namespace
}  // namespace drupe

int main(int argc, char** argv) {
    const std::vector<std::string> arguments(argv + 1, argv + argc);
    if (arguments.size() < 3 || arguments.size() > 4) {
        std::fputs("usage: drupe-import ROOT COMMAND ARGUMENT [ARGUMENT]\n", stderr);
        return 2;
    }
    // Who asked for it is gone: nobody will know what becomes of it.
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    // A registry that hangs up is an error of one write.
    std::signal(SIGPIPE, SIG_IGN);
    const auto done = drupe::run(arguments);
    if (done) return 0;
    drupe::say(
        {{"error", done.error().message}, {"code", static_cast<unsigned>(done.error().code)}});
    return 1;
}
