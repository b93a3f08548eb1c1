#include <algorithm>

#include "api/engine/clock.h"
#include "base/json_reader.h"
#include "cli/command.h"
#include "cli/container_list.h"
#include "cli/daemon.h"
#include "cli/filters.h"

namespace drupe::cli {
namespace {

/// A container of GET /containers/json.
Result<ListedContainer> read_container(const nlohmann::json& value) {
    constexpr uint64_t kNano = 1'000'000'000;
    ListedContainer c;
    std::vector<std::string> names;
    uint64_t created_s = 0;
    JsonReader in(value, "container");
    in.get("Id", c.id);
    in.get_list("Names", names, 64);
    in.get("Image", c.image);
    in.get("Command", c.command);
    in.get("Created", created_s);
    in.get("State", c.state);
    in.get("Status", c.status);
    const nlohmann::json* labels = in.object("Labels");
    TRY(in.status());
    if (!names.empty()) c.name = names.front().substr(names.front().starts_with('/') ? 1 : 0);
    c.created_at_ns = std::min(created_s, UINT64_MAX / kNano) * kNano;
    if (labels == nullptr) return c;
    for (const auto& [name, text] : labels->items()) {
        if (text.is_string()) c.labels[name] = text.get<std::string>();
    }
    return c;
}

Result<std::string> list(const client::Pairs& query, const ListOptions& options) {
    TRY_ASSIGN(const auto json, ask(make_request("GET", "/containers/json", query)));
    if (!json.is_array()) return Error{ErrorCode::kCorrupt, "the daemon's answer is no list"};
    std::vector<ListedContainer> containers;
    for (const auto& item : json) {
        TRY_ASSIGN(auto container, read_container(item));
        containers.push_back(std::move(container));
    }
    return list_text(containers, options, engine::realtime_ns());
}

}  // namespace

int ps_command(int argc, char** argv) {
    bool all = false;
    ListOptions options;
    std::vector<std::string> filter_texts;
    Args args("ps", "", "List containers: the running ones, or all.");
    args.flag("-a,--all", all, "Those that don't run, too");
    args.flag("-q,--quiet", options.quiet, "Print ids only");
    args.flag("--no-trunc", options.no_trunc, "Print ids and commands in full");
    args.values("-f,--filter", "KEY=VALUE", filter_texts,
                "Only those with this id, name, status, label, ancestor or exited");
    args.value("--format", "FORMAT", options.format,
               "json (one document a line), or a template: '{{.ID}} {{.Names}}', 'table ...'");
    args.flag("--json", options.json, "Print a JSON array");
    args.example("drupe ps -a --filter status=exited", "what has ended");
    args.example("drupe ps --format '{{.Names}}: {{.Status}}'", "two columns of it");
    if (const auto code = args.parse(argc, argv)) return *code;
    const auto filters = filters_json(filter_texts);
    if (!filters) return fail(filters.error());
    client::Pairs query;
    if (all) query.emplace_back("all", "1");
    if (!filter_texts.empty()) query.emplace_back("filters", filters.value());
    const auto text = list(query, options);
    return text ? print(text.value()) : fail(text.error());
}

}  // namespace drupe::cli
