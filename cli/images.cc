// drupe images, tag and rmi.

#include <fmt/format.h>

#include "api/engine/clock.h"
#include "base/json_reader.h"
#include "cli/command.h"
#include "cli/daemon.h"
#include "cli/filters.h"
#include "cli/image_list.h"
#include "imagefs/oci/reference.h"

namespace drupe::cli {
namespace {

constexpr size_t kMaxNames = 10'000;

/// An image of GET /images/json.
Result<ListedImage> read_image(const nlohmann::json& value) {
    ListedImage image;
    std::vector<std::string> digests;
    JsonReader in(value, "image");
    in.get("Id", image.id);
    in.get_list("RepoTags", image.references, kMaxNames);
    in.get_list("RepoDigests", digests, kMaxNames);
    in.get("Created", image.created_s);
    in.get("Size", image.size_bytes);
    TRY(in.status());
    if (!digests.empty()) image.digest = digests.front().substr(digests.front().find('@') + 1);
    return image;
}

Result<std::string> list(const client::Pairs& query, const ImageListOptions& options) {
    TRY_ASSIGN(const auto json, ask(make_request("GET", "/images/json", query)));
    if (!json.is_array()) return Error{ErrorCode::kCorrupt, "the daemon's answer is no list"};
    std::vector<ListedImage> images;
    for (const auto& item : json) {
        TRY_ASSIGN(auto image, read_image(item));
        images.push_back(std::move(image));
    }
    return image_list_text(images, options, engine::realtime_ns());
}

/// What a removal did, a line for each name and image: "Untagged: x:1", "Deleted: sha256:...".
Result<std::string> report_text(const nlohmann::json& report) {
    if (!report.is_array()) return Error{ErrorCode::kCorrupt, "the daemon's answer is no list"};
    std::string text;
    for (const auto& step : report) {
        if (!step.is_object()) continue;
        for (const auto& [what, name] : step.items()) {
            if (!name.is_string()) continue;
            text += (text.empty() ? "" : "\n") + what + ": " + name.get<std::string>();
        }
    }
    return text;
}

}  // namespace

int images_command(int argc, char** argv) {
    ImageListOptions options;
    std::vector<std::string> names;
    std::vector<std::string> filter_texts;
    bool all = false;
    Args args("images", "[NAME[:TAG]]", "List images.");
    args.flag("-a,--all", all, "All images (there are no others)");
    args.flag("--digests", options.digests, "Show digests too");
    args.values("-f,--filter", "KEY=VALUE", filter_texts,
                "Only those with this dangling, reference, label, before or since");
    args.flag("-q,--quiet", options.quiet, "Print ids only");
    args.flag("--no-trunc", options.no_trunc, "Print ids in full");
    args.value("--format", "FORMAT", options.format,
               "json (one document a line), or a template: '{{.Repository}} {{.Size}}'");
    args.flag("--json", options.json, "Print a JSON array");
    args.operands(names, 0, 1);
    args.example("drupe images", "all");
    args.example("drupe images -q -f dangling=true", "ids of those without a name");
    if (const auto code = args.parse(argc, argv)) return *code;
    const auto filters = filters_json(filter_texts);
    if (!filters) return fail(filters.error());
    client::Pairs query;
    if (!filter_texts.empty()) query.emplace_back("filters", filters.value());
    options.name = names.empty() ? "" : names.front();
    const auto text = list(query, options);
    return text ? print(text.value()) : fail(text.error());
}

int tag_command(int argc, char** argv) {
    std::vector<std::string> names;
    Args args("tag", "SOURCE TARGET", "Give an image another name.");
    args.operands(names, 2, 2);
    args.example("drupe tag app:latest app:1.4", "keep this state under a name");
    if (const auto code = args.parse(argc, argv)) return *code;
    const auto target = imagefs::oci::Reference::parse(names[1]);
    if (!target) return fail(target.error());
    const auto& to = target.value();
    if (to.digest) {
        return fail({ErrorCode::kInvalid, "refusing to create a tag with a digest reference"});
    }
    const auto tagged =
        order(make_request("POST", image_path(names[0], "/tag"),
                           {{"repo", to.registry + "/" + to.repository}, {"tag", to.tag}}));
    return tagged ? 0 : fail(tagged.error());
}

int rmi_command(int argc, char** argv) {
    std::vector<std::string> names;
    bool force = false;
    Args args("rmi", "IMAGE [IMAGE...]",
              "Remove images, by name or id; layers that nothing else needs go with them.");
    args.flag("-f,--force", force,
              "Also an id with several names, and the image of a stopped container");
    args.operands(names, 1, SIZE_MAX);
    args.example("drupe rmi app:1.3", "an old one");
    if (const auto code = args.parse(argc, argv)) return *code;
    auto client = connect_daemon();
    if (!client) return fail(client.error());
    const client::Pairs query = force ? client::Pairs{{"force", "1"}} : client::Pairs{};
    return for_each(names, [&](const std::string& name) -> Result<std::string> {
        TRY_ASSIGN(const auto report,
                   ask(client.value(), make_request("DELETE", image_path(name), query)));
        return report_text(report);
    });
}

}  // namespace drupe::cli
