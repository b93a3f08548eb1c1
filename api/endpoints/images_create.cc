// POST /images/create: a pull, or an import

#include "api/endpoints/body_source.h"
#include "api/endpoints/changes.h"
#include "api/endpoints/image_events.h"
#include "api/endpoints/images.h"
#include "api/endpoints/platform.h"
#include "api/endpoints/progress.h"
#include "imagefs/oci/reference.h"

namespace drupe::endpoints {
namespace {

using imagefs::oci::Reference;

/// A tag may be a digest here.
std::string name_with(const std::string& name, const std::string& tag) {
    if (tag.empty()) return name;
    return name + (tag.find(':') != std::string::npos ? "@" : ":") + tag;
}

Status pull(const Call& call) {
    const std::string name = name_with(call.text("fromImage"), call.text("tag"));
    TRY_ASSIGN(const Reference reference, Reference::parse(name));
    TRY_ASSIGN(const engine::RegistryLogin login, registry_login(call));
    TRY_ASSIGN(auto engine, call.daemon.engines.borrow());
    Progress progress(call);
    // Nothing is said before it is known that there is such an image: an error is a status then.
    bool said = false;
    const auto layers = progress.layers();
    const auto watch = [&](const engine::LayerProgress& layer) {
        if (!said) {
            static_cast<void>(
                progress.status("Pulling from " + reference.repository,
                                reference.digest ? reference.digest->to_string() : reference.tag));
        }
        said = true;
        layers(layer);
    };
    const auto pulled = engine.images().pull(name, watch, {login, progress.cancelled()});
    if (!pulled) return progress.fail(pulled.error());
    if (!said) {
        TRY(progress.status("Pulling from " + reference.repository,
                            reference.digest ? reference.digest->to_string() : reference.tag));
    }
    TRY(progress.status("Digest: " + pulled.value().digest));
    TRY(progress.status(
        std::string("Status: ") +
        (pulled.value().is_newer ? "Downloaded newer image for " : "Image is up to date for ") +
        reference.familiar()));
    publish_image(call.daemon, "pull", reference.familiar(), reference.familiar());
    return ok();
}

Status import(const Call& call) {
    if (call.text("fromSrc") != "-") {
        return Error{ErrorCode::kUnsupported,
                     "fromSrc: only \"-\", the request's body; fetch the address yourself"};
    }
    engine::CommitWords words;
    words.comment = call.text("message").empty() ? "Imported from -" : call.text("message");
    words.changes = changes_of(call);
    const std::string name = name_with(call.text("repo"), call.text("tag"));
    TRY_ASSIGN(auto engine, call.daemon.engines.borrow());
    if (!name.empty()) {
        TRY(engine.images().check_name(name));
    }
    TRY_ASSIGN(const auto file, spool_body(call.http, call.daemon.paths.root + "/tmp"));
    Progress progress(call);
    const auto id = engine.images().import(file.path(), name, {}, words);
    if (!id) return progress.fail(id.error());
    TRY(progress.status(id.value()));
    publish_image(call.daemon, "import", id.value(), id.value());
    return ok();
}

}  // namespace

Status create_image(const Call& call) {
    TRY(check_platform(call.text("platform")));
    if (!call.text("fromImage").empty()) return pull(call);
    if (!call.text("fromSrc").empty()) return import(call);
    return Error{ErrorCode::kInvalid, "fromImage or fromSrc has to say where the image is"};
}

}  // namespace drupe::endpoints
