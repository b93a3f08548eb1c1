// What the importer is needed for: images from and to registries.

#include "api/engine/images.h"
#include "imagefs/oci/reference.h"

namespace drupe::engine {

using imagefs::oci::Reference;

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

Status Images::check_login(const std::string& registry, const std::string& user,
                           const std::string& password) {
    TRY(run_importer(
        paths_.importer, paths_.root,
        {{"check-login", imagefs::oci::registry_of_address(registry), user}, password, {}, {}}));
    return ok();
}

}  // namespace drupe::engine
