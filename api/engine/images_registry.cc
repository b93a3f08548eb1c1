// What the importer is needed for: images from and to registries.

#include "api/engine/images.h"
#include "imagefs/oci/reference.h"

namespace drupe::engine {
namespace {

using imagefs::oci::Reference;

constexpr const char* kHub = "docker.io";

/// "https://host/v1/", "host" or nothing, as a registry of references: "docker.io".
std::string registry_of(std::string text) {
    for (const std::string_view scheme : {"https://", "http://"}) {
        if (text.starts_with(scheme)) text.erase(0, scheme.size());
    }
    text = text.substr(0, text.find('/'));
    const bool hub = text.empty() || text == "index.docker.io" || text == "registry-1.docker.io";
    return hub ? kHub : text;
}

}  // namespace

Result<bool> Images::has(std::string_view name) {
    const auto image = find(name);
    if (image) return true;
    if (image.error().code == ErrorCode::kNotFound) return false;
    return image.error();
}

Result<PullReport> Images::pull(const std::string& name, const Watch& watch,
                                const TransferOptions& options) {
    TRY_ASSIGN(const Reference reference, Reference::parse(name));
    TRY_ASSIGN(auto report, run_importer(paths_.importer, paths_.root,
                                         {{"pull", reference.canonical()},
                                          options.login ? credentials_json(*options.login) : "",
                                          {},
                                          watch,
                                          options.cancelled}));
    return PullReport{reference.canonical(), std::move(report.digest), report.is_newer};
}

Result<PushReport> Images::push(const std::string& name, const Watch& watch,
                                const TransferOptions& options) {
    TRY_ASSIGN(const Reference reference, Reference::parse(name));
    if (reference.digest) {
        return Error{ErrorCode::kInvalid, "what is pushed is named by a tag: write NAME[:TAG]"};
    }
    TRY_ASSIGN(const auto image, store_.resolve(reference.canonical()));
    TRY(imagefs::make_blobs(store_, image, tar_opener()));  // the importer reads no guest's disk
    TRY_ASSIGN(auto report, run_importer(paths_.importer, paths_.root,
                                         {{"push", reference.canonical()},
                                          options.login ? credentials_json(*options.login) : "",
                                          {},
                                          watch,
                                          options.cancelled}));
    return PushReport{std::move(report.digest), report.size_bytes};
}

Status Images::log_in(const std::string& registry, const std::string& user,
                      const std::string& password) {
    TRY(run_importer(paths_.importer, paths_.root,
                     {{"login", registry_of(registry), user}, password, {}, {}}));
    return ok();
}

Status Images::check_login(const std::string& registry, const std::string& user,
                           const std::string& password) {
    TRY(run_importer(paths_.importer, paths_.root,
                     {{"check-login", registry_of(registry), user}, password, {}, {}}));
    return ok();
}

Status Images::log_out(const std::string& registry) {
    TRY(run_importer(paths_.importer, paths_.root,
                     {{"logout", registry_of(registry)}, {}, {}, {}}));
    return ok();
}

}  // namespace drupe::engine
