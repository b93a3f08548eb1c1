// drupe rename and update: what may change of a container; drupe top: what runs in it.

#include <fmt/format.h>

#include <algorithm>

#include "api/engine/units.h"
#include "base/json_reader.h"
#include "cli/command.h"
#include "cli/daemon.h"
#include "cli/text.h"

namespace drupe::cli {
namespace {

constexpr size_t kMaxColumns = 256;
constexpr size_t kMaxRows = 1 << 20;

using Row = std::vector<std::string>;

std::string aligned(const std::vector<Row>& rows) {
    std::vector<size_t> widths(rows.front().size());
    for (const Row& row : rows) {
        for (size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
    }
    std::string text;
    for (const Row& row : rows) {
        for (size_t i = 0; i + 1 < row.size(); ++i) {
            text += fmt::format("{:<{}}", row[i], widths[i] + 3);
        }
        text += row.back() + "\n";
    }
    return text;
}

Result<std::string> top_text(const client::Request& request) {
    TRY_ASSIGN(const auto json, ask(request));
    Row titles;
    JsonReader in(json);
    in.get_list("Titles", titles, kMaxColumns);
    TRY(in.status());
    std::vector<Row> rows{std::move(titles)};
    const auto processes = json.find("Processes");
    if (processes == json.end() || !processes->is_array() || processes->size() > kMaxRows ||
        rows.front().empty()) {
        return Error{ErrorCode::kCorrupt, "the daemon's answer is no table"};
    }
    for (const auto& process : *processes) {
        const nlohmann::json wrapped{{"row", process}};
        Row row;
        JsonReader cells(wrapped);
        cells.get_list("row", row, rows.front().size());
        TRY(cells.status());
        row.resize(rows.front().size());
        rows.push_back(std::move(row));
    }
    return aligned(rows);
}

}  // namespace

int rename_command(int argc, char** argv) {
    std::vector<std::string> names;
    Args args("rename", "CONTAINER NEW_NAME", "Give a container another name.");
    args.operands(names, 2, 2);
    args.example("drupe rename web old-web", "to use the name for another");
    if (const auto code = args.parse(argc, argv)) return *code;
    const auto renamed =
        order(make_request("POST", container_path(names[0], "/rename"), {{"name", names[1]}}));
    return renamed ? 0 : fail(renamed.error());
}

int update_command(int argc, char** argv) {
    std::vector<std::string> names;
    std::optional<std::string> memory;
    std::optional<std::string> cpus;
    std::optional<std::string> restart;
    std::optional<uint32_t> pids;
    Args args("update", "CONTAINER [CONTAINER...]", "Change limits of containers.");
    args.value("-m,--memory", "SIZE", memory, "Memory limit; of a running one up to its machine's");
    args.value("--cpus", "NUMBER", cpus, "CPU limit; of a running one up to its vCPUs");
    args.value("--pids-limit", "NUMBER", pids, "Limit of its processes; 0: none");
    args.value("--restart", "POLICY", restart, "no, always, unless-stopped or on-failure[:NUMBER]");
    args.operands(names, 1, SIZE_MAX);
    args.example("drupe update -m 256m db", "at once");
    if (const auto code = args.parse(argc, argv)) return *code;
    nlohmann::json changes = nlohmann::json::object();
    if (memory) {
        const auto bytes = engine::parse_bytes(*memory);
        if (!bytes) return fail(bytes.error());
        changes["Memory"] = bytes.value();
    }
    if (cpus) {
        const auto nano = parse_cpus(*cpus);
        if (!nano) return fail(nano.error());
        changes["NanoCpus"] = nano.value();
    }
    if (restart) {
        const auto policy = parse_restart(*restart);
        if (!policy) return fail(policy.error());
        changes["RestartPolicy"] = {{"Name", to_string(policy.value().kind)},
                                    {"MaximumRetryCount", policy.value().max_retries}};
    }
    if (pids) changes["PidsLimit"] = *pids == 0 ? -1 : static_cast<int64_t>(*pids);
    auto client = connect_daemon();
    if (!client) return fail(client.error());
    return for_each(names, [&](const std::string& name) -> Result<std::string> {
        TRY(client.value().request(
            make_request("POST", container_path(name, "/update"), {}, dump_json(changes))));
        return name;
    });
}

int top_command(int argc, char** argv) {
    std::vector<std::string> operands;
    Args args("top", "CONTAINER [PS OPTIONS]", "Show what runs in a container.");
    args.operands(operands, 1, SIZE_MAX, Args::Options::kInFront);
    args.example("drupe top web -o pid,rss,args", "with columns as ps has them");
    if (const auto code = args.parse(argc, argv)) return *code;
    client::Pairs query;
    if (operands.size() > 1) {
        query.emplace_back("ps_args",
                           fmt::format("{}", fmt::join(operands.begin() + 1, operands.end(), " ")));
    }
    const auto text =
        top_text(make_request("GET", container_path(operands.front(), "/top"), query));
    return text ? print(text.value()) : fail(text.error());
}

}  // namespace drupe::cli
