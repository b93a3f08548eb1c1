#include "cli/new_container.h"

#include <fmt/format.h>

#include "api/engine/inspect.h"
#include "base/json_reader.h"
#include "cli/daemon.h"
#include "cli/pull.h"
#include "imagefs/oci/reference.h"

namespace drupe::cli {
namespace {

bool is_missing_image(const Error& error) {
    return error.code == ErrorCode::kNotFound &&
           error.message.find("No such image") != std::string::npos;
}

Result<std::string> id_of(const client::Response& created) {
    TRY_ASSIGN(const auto json, parse_json(created.body));
    std::string id;
    JsonReader in(json);
    in.get("Id", id);
    TRY(in.status());
    return id;
}

/// An id can't be pulled.
bool can_be_pulled(const std::string& image) {
    return !image.starts_with("sha256:") && imagefs::oci::Reference::parse(image).has_value();
}

}  // namespace

Result<std::string> create_container(client::Client& client, const ContainerOptions& options,
                                     const engine::ContainerConfig& config) {
    client::Pairs query;
    if (!options.name().empty()) query.emplace_back("name", options.name());
    const auto request =
        make_request("POST", "/containers/create", std::move(query), engine::create_json(config));
    const bool quiet = options.pulls_quietly();
    if (options.pull_policy() == "always") {
        TRY(pull_image(client, config.image, quiet, stderr));
    }
    auto created = client.request(request);
    if (!created && is_missing_image(created.error()) && options.pull_policy() == "missing" &&
        can_be_pulled(config.image)) {
        if (!quiet) fmt::print(stderr, "Unable to find image '{}' locally\n", config.image);
        TRY(pull_image(client, config.image, quiet, stderr));
        created = client.request(request);
    }
    if (!created) return created.error();
    TRY_ASSIGN(std::string id, id_of(created.value()));
    TRY(options.write_id_file(id));
    return id;
}

}  // namespace drupe::cli
