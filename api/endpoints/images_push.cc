// POST /images/{name...}/push

#include "api/endpoints/image_events.h"
#include "api/endpoints/images.h"
#include "api/endpoints/platform.h"
#include "api/endpoints/progress.h"
#include "imagefs/oci/reference.h"

namespace drupe::endpoints {

Status push_image(const Call& call) {
    using imagefs::oci::Reference;
    TRY(check_platform(call.text("platform")));
    const std::string tag = call.text("tag");
    const std::string name = call.path.at("name") + (tag.empty() ? "" : ":" + tag);
    TRY_ASSIGN(const Reference reference, Reference::parse(name));
    TRY_ASSIGN(const engine::RegistryLogin login, registry_login(call));
    TRY_ASSIGN(auto engine, call.daemon.engines.borrow());
    TRY_ASSIGN(const bool there, engine.images().has(name));
    if (!there) {
        return Error{ErrorCode::kNotFound,
                     "An image does not exist locally with the tag: " + call.path.at("name")};
    }
    Progress progress(call);
    TRY(progress.status("The push refers to repository [" + reference.registry + "/" +
                        reference.repository + "]"));
    const auto pushed =
        engine.images().push(name, progress.layers(), {login, progress.cancelled()});
    if (!pushed) return progress.fail(pushed.error());
    const auto& report = pushed.value();
    TRY(progress.status(reference.tag + ": digest: " + report.digest +
                        " size: " + std::to_string(report.size_bytes)));
    TRY(progress.line(
        {{"progressDetail", Json::object()},
         {"aux",
          {{"Tag", reference.tag}, {"Digest", report.digest}, {"Size", report.size_bytes}}}}));
    publish_image(call.daemon, "push", reference.familiar(), reference.familiar());
    return ok();
}

}  // namespace drupe::endpoints
