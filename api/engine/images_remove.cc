// Images::remove(): what `docker rmi` does, and how it says why it doesn't.

#include <fmt/format.h>

#include <algorithm>

#include "api/engine/images.h"
#include "imagefs/oci/reference.h"

namespace drupe::engine {
namespace {

using imagefs::oci::Reference;
using Users = std::vector<ImageUser>;

constexpr size_t kShownIdDigits = 12;
constexpr size_t kAlgorithmBytes = 7;  // "sha256:"

std::string shown(const imagefs::Image& image) {
    return image.id.to_string().substr(kAlgorithmBytes, kShownIdDigits);
}

std::string familiar(const std::string& canonical) {
    const auto reference = Reference::parse(canonical);
    return reference ? reference.value().familiar() : canonical;
}

/// Why an image has to stay, if it has to.
std::optional<Error> conflict(const imagefs::Image& image, const Users& users, bool force) {
    const auto refuse = [&](std::string_view how, const std::string& why) {
        return Error{ErrorCode::kConflict, fmt::format("conflict: unable to delete {} ({}) - {}",
                                                       shown(image), how, why)};
    };
    const auto running = std::find_if(users.begin(), users.end(),
                                      [](const ImageUser& user) { return user.running; });
    if (running != users.end()) {
        return refuse("cannot be forced", "image is being used by running container " +
                                              short_id(running->container_id));
    }
    if (force) return std::nullopt;
    if (image.tags.size() > 1) {
        return refuse("must be forced", "image is referenced in multiple repositories");
    }
    if (!users.empty()) {
        return refuse("must be forced", "image is being used by stopped container " +
                                            short_id(users.front().container_id));
    }
    return std::nullopt;
}

}  // namespace

Result<RemoveReport> Images::remove(
    std::string_view name, bool force,
    const std::function<Result<std::vector<ImageUser>>(const std::string& id)>& users_of) {
    TRY_ASSIGN(auto image, find(name));
    TRY_ASSIGN(const Users users, users_of(image.id.to_string()));
    const auto reference = Reference::parse(name);
    const std::string canonical = reference ? reference.value().canonical() : "";
    const auto tag = std::find(image.tags.begin(), image.tags.end(), canonical);
    RemoveReport report;
    if (tag != image.tags.end()) {
        const bool last = image.tags.size() == 1;
        if (last && !force && !users.empty()) {
            return Error{ErrorCode::kConflict,
                         fmt::format("conflict: unable to remove repository reference \"{}\" (must "
                                     "force) - container {} is using its referenced image {}",
                                     name, short_id(users.front().container_id), shown(image))};
        }
        TRY(store_.untag(canonical));
        report.push_back("Untagged: " + familiar(canonical));
        image.tags.erase(tag);
        // What a container uses stays without a name.
        if (!last || conflict(image, users, force)) return report;
    } else if (auto why = conflict(image, users, force)) {
        return std::move(*why);
    }
    TRY_ASSIGN(auto layers, store_.chain(image.chain_id));
    std::erase_if(layers, [](const auto& layer) { return !layer.parent; });  // of no image's own
    std::vector<imagefs::ChainId> names;
    for (const auto& layer : layers) {
        TRY_ASSIGN(names.emplace_back(), store_.oci_chain_id(layer.chain_id));
    }
    TRY(store_.remove_image(image.id));
    for (const std::string& other : image.tags) report.push_back("Untagged: " + familiar(other));
    report.push_back("Deleted: " + image.id.to_string());
    for (size_t i = layers.size(); i-- > 0;) {  // the uppermost first
        TRY_ASSIGN(const bool kept, store_.has_layer(layers[i].chain_id));
        if (!kept) report.push_back("Deleted: " + names[i].to_string());
    }
    return report;
}

}  // namespace drupe::engine
