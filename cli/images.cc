// drupe images, tag and rmi.

#include "api/engine/images.h"

#include <fmt/format.h>

#include "api/engine/clock.h"
#include "api/engine/local.h"
#include "cli/command.h"
#include "cli/image_list.h"
#include "cli/session.h"

namespace drupe::cli {

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
    auto local = open_engine();
    if (!local) return fail(local.error());
    auto images = local.value()->images->list();
    if (!images) return fail(images.error());
    const auto created = [&](const std::string& name) -> Result<int64_t> {
        TRY_ASSIGN(const std::string id, local.value()->images->id_of(name));
        for (const auto& image : images.value()) {
            if (image.id == id) return image.created_s;
        }
        return Error{ErrorCode::kNotFound, "No such image: " + name};
    };
    const auto filter = parse_image_filter(filter_texts, created);
    if (!filter) return fail(filter.error());
    apply_filter(images.value(), filter.value());
    options.name = names.empty() ? "" : names.front();
    const auto text = image_list_text(images.value(), options, engine::realtime_ns());
    return text ? print(text.value()) : fail(text.error());
}

int tag_command(int argc, char** argv) {
    std::vector<std::string> names;
    Args args("tag", "SOURCE TARGET", "Give an image another name.");
    args.operands(names, 2, 2);
    args.example("drupe tag app:latest app:1.4", "keep this state under a name");
    if (const auto code = args.parse(argc, argv)) return *code;
    auto local = open_engine();
    if (!local) return fail(local.error());
    auto tagged = local.value()->images->tag(names[0], names[1]);
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
    auto local = open_engine();
    if (!local) return fail(local.error());
    const auto users_of = [&](const std::string& id) -> Result<std::vector<engine::ImageUser>> {
        TRY_ASSIGN(const auto containers, local.value()->engine->of_image(id));
        std::vector<engine::ImageUser> users;
        for (const auto& container : containers) {
            users.push_back({container.id, container.state == engine::State::kRunning ||
                                               container.state == engine::State::kPaused});
        }
        return users;
    };
    return for_each(names, [&](const std::string& name) -> Result<std::string> {
        TRY_ASSIGN(const auto report, local.value()->images->remove(name, force, users_of));
        return fmt::format("{}", fmt::join(report, "\n"));
    });
}

}  // namespace drupe::cli
