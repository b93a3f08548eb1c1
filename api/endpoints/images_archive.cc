// GET /images/get and /images/{name...}/get, POST /images/load

#include "api/endpoints/body_source.h"
#include "api/endpoints/image_events.h"
#include "api/endpoints/images.h"
#include "api/endpoints/progress.h"

namespace drupe::endpoints {
namespace {

/// Docker's archive, or with Drupe's own "drupe.format=oci" a layout.
Result<imagefs::ArchiveFormat> format_of(const Call& call) {
    const std::string text = call.text("drupe.format");
    if (text == "oci") return imagefs::ArchiveFormat::kOci;
    if (text.empty() || text == "docker-archive") return imagefs::ArchiveFormat::kDocker;
    return Error{ErrorCode::kInvalid, "drupe.format is docker-archive or oci"};
}

Status save(const Call& call, const std::vector<std::string>& names) {
    TRY_ASSIGN(const auto format, format_of(call));
    TRY_ASSIGN(auto engine, call.daemon.engines.borrow());
    for (const std::string& name : names) {
        TRY_ASSIGN(const std::string id, engine.images().id_of(name));
        publish_image(call.daemon, "save", id, name);
    }
    bool begun = false;
    const auto saved = engine.images().save(names, format, [&](std::string_view bytes) -> Status {
        if (!begun) {
            TRY(call.http.begin(200, "application/x-tar"));
        }
        begun = true;
        return call.http.write(bytes);
    });
    if (!saved && begun) call.http.abandon();
    return saved;
}

/// Where a body was put down is nobody's business.
Error without_path(Error error, std::string_view path) {
    const size_t at = error.message.find(path);
    if (at != std::string::npos) error.message.replace(at, path.size(), "the archive");
    return error;
}

}  // namespace

Status save_image(const Call& call) {
    return save(call, {call.path.at("name")});
}

Status save_images(const Call& call) {
    const auto names = call.list("names");
    if (names.empty()) return Error{ErrorCode::kInvalid, "names has to name at least one image"};
    return save(call, names);
}

Status load_images(const Call& call) {
    TRY_ASSIGN(auto engine, call.daemon.engines.borrow());
    TRY_ASSIGN(const auto file, spool_body(call.http, call.daemon.paths.root + "/tmp"));
    const auto loaded = engine.images().load(file.path(), call.text("drupe.tag"), {});
    if (!loaded) return without_path(loaded.error(), file.path());
    Progress progress(call);
    for (const std::string& name : loaded.value()) {
        const bool id = name.starts_with("sha256:");
        TRY(progress.line(
            {{"stream", (id ? "Loaded image ID: " : "Loaded image: ") + name + "\n"}}));
        publish_image(call.daemon, "load", name, name);
    }
    return ok();
}

}  // namespace drupe::endpoints
