#include <algorithm>
#include <nlohmann/json.hpp>

#include "api/engine/host_check.h"
#include "base/json_reader.h"
#include "cli/command.h"
#include "cli/text.h"

namespace drupe::cli {
namespace {

using engine::Health;
using engine::HostCheck;

const char* word(Health health) {
    switch (health) {
        case Health::kGood:
            return "ok";
        case Health::kWarning:
            return "warning";
        case Health::kBad:
            break;
    }
    return "PROBLEM";
}

std::string as_json(const std::vector<HostCheck>& checks) {
    nlohmann::json items = nlohmann::json::array();
    for (const HostCheck& check : checks) {
        items.push_back({{"name", check.name},
                         {"ok", check.health != Health::kBad},
                         {"found", check.found},
                         {"advice", check.advice}});
    }
    return dump_json(items) + "\n";
}

std::string as_table(const std::vector<HostCheck>& checks) {
    Table table({"CHECK", "RESULT", "FOUND"});
    std::string advice;
    for (const HostCheck& check : checks) {
        table.row({check.name, word(check.health), check.found});
        if (!check.advice.empty()) advice += "\n" + check.name + ": " + check.advice + ".";
    }
    return table.text() + (advice.empty() ? "" : advice + "\n");
}

}  // namespace

int doctor_command(int argc, char** argv) {
    bool json = false;
    Args args("doctor", "",
              "Check whether this host can run microVMs, and say what to do if not. The exit code "
              "is 1 if it can't.");
    args.flag("--json", json, "Print a JSON array");
    args.example("drupe doctor", "after the installation");
    if (const auto code = args.parse(argc, argv)) return *code;
    const auto paths = engine::find_paths();
    if (!paths) return fail(paths.error());
    const auto checks = engine::check_host(paths.value());
    const int printed = print(json ? as_json(checks) : as_table(checks));
    if (printed != 0) return printed;
    const bool bad = std::any_of(checks.begin(), checks.end(),
                                 [](const HostCheck& c) { return c.health == Health::kBad; });
    return bad ? kFailure : 0;
}

}  // namespace drupe::cli
