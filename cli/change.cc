// drupe rename and update: what may change of a container; drupe top: what runs in it.

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "api/engine/local.h"
#include "api/engine/units.h"
#include "cli/command.h"
#include "cli/session.h"
#include "cli/text.h"

namespace drupe::cli {
namespace {

/// "no", "always", "unless-stopped", "on-failure[:N]".
Result<engine::RestartPolicy> parse_restart(const std::string& text) {
    const size_t colon = text.find(':');
    const auto kind = engine::parse_restart_kind(text.substr(0, colon));
    const Error bad{ErrorCode::kInvalid,
                    fmt::format("--restart {}: there are no, always, unless-stopped and "
                                "on-failure[:NUMBER]",
                                text)};
    if (!kind) return bad;
    engine::RestartPolicy policy{*kind, 0};
    if (colon == std::string::npos) return policy;
    const char* const end = text.data() + text.size();
    const auto read = std::from_chars(text.data() + colon + 1, end, policy.max_retries);
    const bool good = read.ec == std::errc() && read.ptr == end;
    if (!good || *kind != engine::RestartPolicy::Kind::kOnFailure) return bad;
    return policy;
}

std::string show(const engine::ProcessTable& table) {
    std::vector<size_t> widths(table.titles.size());
    const auto widen = [&](const std::vector<std::string>& row) {
        for (size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
    };
    widen(table.titles);
    for (const auto& row : table.rows) widen(row);
    std::string text;
    const auto add = [&](const std::vector<std::string>& row) {
        for (size_t i = 0; i + 1 < row.size(); ++i) {
            text += fmt::format("{:<{}}", row[i], widths[i] + 3);
        }
        text += row.back() + "\n";
    };
    add(table.titles);
    for (const auto& row : table.rows) add(row);
    return text;
}

}  // namespace

int rename_command(int argc, char** argv) {
    std::vector<std::string> names;
    Args args("rename", "CONTAINER NEW_NAME", "Give a container another name.");
    args.operands(names, 2, 2);
    args.example("drupe rename web old-web", "to use the name for another");
    if (const auto code = args.parse(argc, argv)) return *code;
    auto local = open_engine();
    if (!local) return fail(local.error());
    const auto renamed = local.value()->engine->rename(names[0], names[1]);
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
    engine::ContainerChanges changes;
    if (memory) {
        const auto bytes = engine::parse_bytes(*memory);
        if (!bytes) return fail(bytes.error());
        changes.memory_bytes = bytes.value();
    }
    if (cpus) {
        const auto nano = parse_cpus(*cpus);
        if (!nano) return fail(nano.error());
        changes.nano_cpus = nano.value();
    }
    if (restart) {
        const auto policy = parse_restart(*restart);
        if (!policy) return fail(policy.error());
        changes.restart = policy.value();
    }
    if (pids) changes.pids_limit = *pids;
    auto local = open_engine();
    if (!local) return fail(local.error());
    return for_each(names, [&](const std::string& name) -> Result<std::string> {
        TRY(local.value()->engine->update(name, changes));
        return name;
    });
}

int top_command(int argc, char** argv) {
    std::vector<std::string> operands;
    Args args("top", "CONTAINER [PS OPTIONS]", "Show what runs in a container.");
    args.operands(operands, 1, SIZE_MAX, Args::Options::kInFront);
    args.example("drupe top web -o pid,rss,args", "with columns as ps has them");
    if (const auto code = args.parse(argc, argv)) return *code;
    std::string ps_arguments;
    for (size_t i = 1; i < operands.size(); ++i) ps_arguments += operands[i] + " ";
    auto local = open_engine();
    if (!local) return fail(local.error());
    const auto table = local.value()->engine->top(operands.front(), ps_arguments);
    return table ? print(show(table.value())) : fail(table.error());
}

}  // namespace drupe::cli
