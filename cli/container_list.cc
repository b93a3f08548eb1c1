#include "cli/container_list.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "api/engine/status_text.h"
#include "api/engine/time_text.h"
#include "base/json_reader.h"
#include "cli/template.h"
#include "cli/text.h"

namespace drupe::cli {
namespace {

constexpr size_t kCommandWidth = 20;
constexpr uint64_t kNano = 1'000'000'000;

std::string since(uint64_t then_ns, uint64_t now_ns) {
    return engine::human_duration(now_ns > then_ns ? (now_ns - then_ns) / kNano : 0);
}

std::string command_text(const ListedContainer& c, bool no_trunc) {
    return "\"" + (no_trunc ? c.command : ellipsis(c.command, kCommandWidth)) + "\"";
}

std::string id_text(const ListedContainer& c, bool no_trunc) {
    return no_trunc ? c.id : engine::short_id(c.id);
}

nlohmann::json to_json(const ListedContainer& c, bool no_trunc, uint64_t now_ns) {
    std::string labels;
    for (const auto& [name, value] : c.labels) {
        labels.append(labels.empty() ? "" : ",").append(name).append("=").append(value);
    }
    return {{"ID", id_text(c, no_trunc)},
            {"Names", c.name},
            {"Image", c.image},
            {"Command", command_text(c, no_trunc)},
            {"CreatedAt", engine::time_text(c.created_at_ns)},
            {"RunningFor", since(c.created_at_ns, now_ns) + " ago"},
            {"State", c.state},
            {"Status", c.status},
            {"Ports", ""},
            {"Networks", ""},
            {"Mounts", ""},
            {"Labels", labels}};
}

}  // namespace

Result<std::string> list_text(const std::vector<ListedContainer>& containers,
                              const ListOptions& options, uint64_t now_ns) {
    if (options.quiet) {
        std::string text;
        for (const ListedContainer& c : containers) text += id_text(c, options.no_trunc) + "\n";
        return text;
    }
    if (options.json || !options.format.empty()) {
        nlohmann::json items = nlohmann::json::array();
        for (const ListedContainer& c : containers) {
            items.push_back(to_json(c, options.no_trunc, now_ns));
        }
        if (options.json) return dump_json(items) + "\n";
        return render_list(options.format, items);
    }
    Table table({"CONTAINER ID", "IMAGE", "COMMAND", "CREATED", "STATUS", "PORTS", "NAMES"});
    for (const ListedContainer& c : containers) {
        table.row({id_text(c, options.no_trunc), c.image, command_text(c, options.no_trunc),
                   since(c.created_at_ns, now_ns) + " ago", c.status, "", c.name});
    }
    return table.text();
}

}  // namespace drupe::cli
