// drupe volume and network ls, create and rm: names, so far.

#include <fmt/format.h>

#include "base/json_reader.h"
#include "cli/command.h"
#include "cli/daemon.h"
#include "cli/filters.h"
#include "cli/template.h"
#include "cli/text.h"

namespace drupe::cli {
namespace {

/// A list of names: the members that are its columns, and what their headings are.
struct List {
    const char* kind;
    const char* path;
    const char* member;  ///< Of the answer; null: it is the list.
    const char* id;
    std::vector<std::pair<const char*, const char*>> columns;
};

Result<std::string> list_text(const nlohmann::json& items, const List& list, bool quiet,
                              const std::string& format) {
    if (!format.empty()) return render_list(format, items);
    std::vector<std::string> header;
    for (const auto& [title, member] : list.columns) header.emplace_back(title);
    Table table(std::move(header));
    std::string ids;
    for (const auto& item : items) {
        std::vector<std::string> cells;
        JsonReader in(item, list.kind);
        for (const auto& [title, member] : list.columns) {
            in.get(member, cells.emplace_back());
            if (std::string_view(member) == "Id") cells.back() = cells.back().substr(0, 12);
        }
        std::string id;
        in.get(list.id, id);
        TRY(in.status());
        ids += id.substr(0, std::string_view(list.id) == "Id" ? 12 : id.size()) + "\n";
        table.row(std::move(cells));
    }
    return quiet ? ids : table.text();
}

int list(const List& list, int argc, char** argv) {
    bool quiet = false;
    bool json = false;
    std::string format;
    std::vector<std::string> filter_texts;
    Args args(std::string(list.kind) + " ls", "", fmt::format("List {}s.", list.kind));
    args.flag("-q,--quiet", quiet, "Print names or ids only");
    args.values("-f,--filter", "KEY=VALUE", filter_texts, "Only those with this name, label, ...");
    args.value("--format", "FORMAT", format, "json (one document a line), or a template");
    args.flag("--json", json, "Print a JSON array");
    args.example(fmt::format("drupe {} ls", list.kind), "all");
    if (const auto code = args.parse(argc, argv)) return *code;
    const auto filters = filters_json(filter_texts);
    if (!filters) return fail(filters.error());
    client::Pairs query;
    if (!filter_texts.empty()) query.emplace_back("filters", filters.value());
    auto answer = ask(make_request("GET", list.path, std::move(query)));
    if (!answer) return fail(answer.error());
    nlohmann::json items = std::move(answer).value();
    if (list.member != nullptr && items.is_object())
        items = items.value(list.member, nlohmann::json());
    if (!items.is_array()) items = nlohmann::json::array();
    if (json) return print(dump_json(items) + "\n");
    const auto text = list_text(items, list, quiet, format);
    return text ? print(text.value()) : fail(text.error());
}

int create_named(const char* kind, const char* path, int argc, char** argv) {
    std::vector<std::string> names;
    std::vector<std::string> labels;
    Args args(std::string(kind) + " create", "NAME", fmt::format("Create a {}.", kind));
    args.values("--label", "NAME=VALUE", labels, "Set a label");
    args.operands(names, 1, 1);
    args.example(fmt::format("drupe {} create mine", kind), "with a name");
    if (const auto code = args.parse(argc, argv)) return *code;
    nlohmann::json body{{"Name", names.front()}, {"Labels", nlohmann::json::object()}};
    for (const std::string& label : labels) {
        const size_t equals = label.find('=');
        body["Labels"][label.substr(0, equals)] =
            equals == std::string::npos ? "" : label.substr(equals + 1);
    }
    const auto created = ask(make_request("POST", path, {}, dump_json(body)));
    if (!created) return fail(created.error());
    std::string id = names.front();
    JsonReader in(created.value());
    in.get("Id", id);
    return print(id + "\n");
}

int remove_named(const char* kind, const char* path, int argc, char** argv) {
    std::vector<std::string> names;
    bool force = false;
    Args args(std::string(kind) + " rm", "NAME [NAME...]", fmt::format("Remove {}s.", kind));
    args.flag("-f,--force", force, "What isn't there is no error");
    args.operands(names, 1, SIZE_MAX);
    args.example(fmt::format("drupe {} rm mine", kind), "one of them");
    if (const auto code = args.parse(argc, argv)) return *code;
    auto client = connect_daemon();
    if (!client) return fail(client.error());
    return for_each(names, [&](const std::string& name) -> Result<std::string> {
        auto removed = client.value().request(make_request("DELETE", path + client::escape(name)));
        const bool fine = removed || (force && removed.error().code == ErrorCode::kNotFound);
        return fine ? Result<std::string>(name) : Result<std::string>(removed.error());
    });
}

}  // namespace

int volume_ls_command(int argc, char** argv) {
    return list(
        {"volume", "/volumes", "Volumes", "Name", {{"DRIVER", "Driver"}, {"VOLUME NAME", "Name"}}},
        argc, argv);
}

int network_ls_command(int argc, char** argv) {
    return list(
        {"network",
         "/networks",
         nullptr,
         "Id",
         {{"NETWORK ID", "Id"}, {"NAME", "Name"}, {"DRIVER", "Driver"}, {"SCOPE", "Scope"}}},
        argc, argv);
}

int volume_create_command(int argc, char** argv) {
    return create_named("volume", "/volumes/create", argc, argv);
}

int network_create_command(int argc, char** argv) {
    return create_named("network", "/networks/create", argc, argv);
}

int volume_rm_command(int argc, char** argv) {
    return remove_named("volume", "/volumes/", argc, argv);
}

int network_rm_command(int argc, char** argv) {
    return remove_named("network", "/networks/", argc, argv);
}

}  // namespace drupe::cli
