#include "cli/container_list.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>

#include "api/engine/status_text.h"
#include "api/engine/time_text.h"
#include "base/json_reader.h"
#include "cli/template.h"
#include "cli/text.h"

namespace drupe::cli {
namespace {

using engine::Container;
using engine::State;

constexpr size_t kCommandWidth = 20;
constexpr uint64_t kNano = 1'000'000'000;
constexpr std::array<std::string_view, 6> kFilterKeys{"id",    "name",     "status",
                                                      "label", "ancestor", "exited"};

std::string since(uint64_t then_ns, uint64_t now_ns) {
    return engine::human_duration(now_ns > then_ns ? (now_ns - then_ns) / kNano : 0);
}

std::string command_text(const ListedContainer& c, bool no_trunc) {
    return "\"" + (no_trunc ? c.command : ellipsis(c.command, kCommandWidth)) + "\"";
}

std::string id_text(const ListedContainer& c, bool no_trunc) {
    return no_trunc ? c.id : engine::short_id(c.id);
}

ListedContainer listed(const Container& c, uint64_t now_ns) {
    return {c.id,
            c.name,
            c.config.image,
            engine::command_text(c.config),
            c.created_at_ns,
            std::string(to_string(c.state)),
            status_text(c, now_ns),
            c.config.labels};
}

bool matches_one(const Container& c, const Filter& filter) {
    if (filter.key == "id") return c.id.starts_with(filter.value);
    if (filter.key == "name") return c.name.find(filter.value) != std::string::npos;
    if (filter.key == "status") return to_string(c.state) == filter.value;
    if (filter.key == "exited") {
        return c.state == State::kExited && std::to_string(c.exit_code) == filter.value;
    }
    if (filter.key == "ancestor") {
        return c.config.image == filter.value || c.config.image + ":latest" == filter.value ||
               c.image_id.substr(7).starts_with(filter.value) || c.image_id == filter.value;
    }
    const size_t equals = filter.value.find('=');
    const auto label = c.config.labels.find(filter.value.substr(0, equals));
    if (label == c.config.labels.end()) return false;
    return equals == std::string::npos || label->second == filter.value.substr(equals + 1);
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

Result<std::vector<Filter>> parse_filters(const std::vector<std::string>& texts) {
    std::vector<Filter> filters;
    for (const std::string& text : texts) {
        const size_t equals = text.find('=');
        Filter filter{text.substr(0, equals),
                      equals == std::string::npos ? "" : text.substr(equals + 1)};
        if (filter.value.empty() ||
            std::find(kFilterKeys.begin(), kFilterKeys.end(), filter.key) == kFilterKeys.end()) {
            return Error{ErrorCode::kInvalid,
                         fmt::format("invalid filter '{}': write KEY=VALUE; keys are {}", text,
                                     fmt::join(kFilterKeys, ", "))};
        }
        if (filter.key == "status" && !engine::parse_state(filter.value)) {
            return Error{ErrorCode::kInvalid,
                         fmt::format("invalid filter '{}': no such status", text)};
        }
        filters.push_back(std::move(filter));
    }
    return filters;
}

bool matches(const Container& container, const std::vector<Filter>& filters) {
    return std::all_of(filters.begin(), filters.end(), [&](const Filter& filter) {
        if (filter.key == "label") return matches_one(container, filter);
        return std::any_of(filters.begin(), filters.end(), [&](const Filter& other) {
            return other.key == filter.key && matches_one(container, other);
        });
    });
}

Result<std::string> listed_text(const std::vector<ListedContainer>& containers,
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

Result<std::string> list_text(const std::vector<Container>& containers, const ListOptions& options,
                              uint64_t now_ns) {
    std::vector<ListedContainer> all;
    all.reserve(containers.size());
    for (const Container& c : containers) all.push_back(listed(c, now_ns));
    return listed_text(all, options, now_ns);
}

}  // namespace drupe::cli
