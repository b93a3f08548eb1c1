// drupe container|image|volume|network prune.

#include <fmt/format.h>

#include <cctype>

#include "base/json_reader.h"
#include "cli/command.h"
#include "cli/daemon.h"
#include "cli/filters.h"
#include "cli/text.h"

namespace drupe::cli {
namespace {

/// What is pruned by one request, and what the answer calls it.
struct Prune {
    const char* kind;     ///< "container", as in the command
    const char* warning;  ///< What will be removed.
    const char* path;
    const char* deleted;  ///< The member that lists them.
    const char* title;
};

Result<std::string> pruned_text(const nlohmann::json& answer, const Prune& prune) {
    uint64_t bytes = 0;
    JsonReader in(answer);
    in.get("SpaceReclaimed", bytes);
    TRY(in.status());
    std::string text;
    const auto deleted = answer.find(prune.deleted);
    for (const auto& item :
         deleted == answer.end() || !deleted->is_array() ? nlohmann::json::array() : *deleted) {
        if (item.is_string()) text += item.get<std::string>() + "\n";
        if (!item.is_object()) continue;
        for (const auto& [what, name] : item.items()) {
            if (name.is_string()) {
                std::string word = what;
                word[0] = static_cast<char>(std::tolower(static_cast<unsigned char>(word[0])));
                text += word + ": " + name.get<std::string>() + "\n";
            }
        }
    }
    if (!text.empty()) text = std::string(prune.title) + ":\n" + text + "\n";
    if (answer.contains("SpaceReclaimed"))
        text += "Total reclaimed space: " + human_size(bytes) + "\n";
    return text;
}

int prune(const Prune& prune, int argc, char** argv) {
    bool all = false;
    bool force = false;
    std::vector<std::string> filter_texts;
    const bool has_all = std::string_view(prune.kind) == "image";
    Args args(std::string(prune.kind) + " prune", "", std::string("Remove ") + prune.warning + ".");
    args.flag("-f,--force", force, "Don't ask");
    if (has_all)
        args.flag("-a,--all", all, "All that no container needs, not only those without a name");
    args.values("--filter", "KEY=VALUE", filter_texts, "Only those with this label or until");
    args.example(fmt::format("drupe {} prune -f", prune.kind), "without a question");
    if (const auto code = args.parse(argc, argv)) return *code;
    if (all) filter_texts.emplace_back("dangling=false");
    const auto filters = filters_json(filter_texts);
    if (!filters) return fail(filters.error());
    if (!force && !confirmed(fmt::format("This will remove {}.", prune.warning))) return 0;
    client::Pairs query;
    if (!filter_texts.empty()) query.emplace_back("filters", filters.value());
    const auto answer = ask(make_request("POST", prune.path, std::move(query)));
    if (!answer) return fail(answer.error());
    const auto text = pruned_text(answer.value(), prune);
    return text ? print(text.value()) : fail(text.error());
}

}  // namespace

int container_prune_command(int argc, char** argv) {
    return prune({"container", "all stopped containers", "/containers/prune", "ContainersDeleted",
                  "Deleted Containers"},
                 argc, argv);
}

int image_prune_command(int argc, char** argv) {
    return prune(
        {"image", "all dangling images", "/images/prune", "ImagesDeleted", "Deleted Images"}, argc,
        argv);
}

int volume_prune_command(int argc, char** argv) {
    return prune({"volume", "anonymous volumes not used by at least one container",
                  "/volumes/prune", "VolumesDeleted", "Deleted Volumes"},
                 argc, argv);
}

int network_prune_command(int argc, char** argv) {
    return prune({"network", "all custom networks not used by at least one container",
                  "/networks/prune", "NetworksDeleted", "Deleted Networks"},
                 argc, argv);
}

}  // namespace drupe::cli
