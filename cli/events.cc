// drupe events.

#include <fmt/format.h>

#include "api/engine/time_text.h"
#include "base/json_reader.h"
#include "cli/command.h"
#include "cli/daemon.h"
#include "cli/filters.h"
#include "cli/template.h"

namespace drupe::cli {
namespace {

/// "2026-01-31T12:00:00.000000000Z container start 0123 (image=busybox, name=web)"
Result<std::string> line_of(const nlohmann::json& event) {
    std::string type;
    std::string action;
    std::string id;
    uint64_t at_ns = 0;
    std::string attributes;
    JsonReader in(event, "event");
    in.get("Type", type);
    in.get("Action", action);
    in.get("timeNano", at_ns);
    if (const nlohmann::json* actor = in.object("Actor")) {
        JsonReader part(*actor);
        part.get("ID", id);
        if (const nlohmann::json* found = part.object("Attributes")) {
            for (const auto& [name, value] : found->items()) {
                if (!value.is_string()) continue;
                attributes +=
                    (attributes.empty() ? "" : ", ") + name + "=" + value.get<std::string>();
            }
        }
        in.check(part.status());
    }
    TRY(in.status());
    if (!attributes.empty()) attributes = " (" + attributes + ")";
    return fmt::format("{} {} {} {}{}\n", engine::time_text(at_ns), type, action, id, attributes);
}

Status show(std::string_view text, const std::string& format) {
    TRY_ASSIGN(const auto event, parse_json(text));
    if (event.is_object() && event.contains("error")) {
        return Error{ErrorCode::kLimit, event["error"].dump()};
    }
    if (format.empty()) {
        TRY_ASSIGN(const std::string line, line_of(event));
        return print(line) == 0 ? ok() : Status(os_error("write to standard output"));
    }
    TRY_ASSIGN(const std::string line, render_list(format, nlohmann::json::array({event})));
    return print(line) == 0 ? ok() : Status(os_error("write to standard output"));
}

}  // namespace

int events_command(int argc, char** argv) {
    std::vector<std::string> filter_texts;
    std::string since;
    std::string until;
    std::string format;
    Args args("events", "", "Print what happens to containers, images, networks and volumes.");
    args.values("-f,--filter", "KEY=VALUE", filter_texts,
                "Only those with this type, event, container, image, label, ...");
    args.value("--since", "TIME", since, "Begin with those that were then");
    args.value("--until", "TIME", until, "End then");
    args.value("--format", "FORMAT", format,
               "json (one document a line), or a template: '{{.Type}} {{.Action}}'");
    args.example("drupe events --since 10m --until 0s", "of the last ten minutes");
    args.example("drupe events -f event=die --format '{{.Actor.ID}}'", "each end, as it comes");
    if (const auto code = args.parse(argc, argv)) return *code;
    const auto filters = filters_json(filter_texts);
    if (!filters) return fail(filters.error());
    client::Pairs query;
    if (!filter_texts.empty()) query.emplace_back("filters", filters.value());
    if (!since.empty()) query.emplace_back("since", since);
    if (!until.empty()) query.emplace_back("until", until);
    auto client = connect_daemon();
    if (!client) return fail(client.error());
    client::LineReader lines([&](std::string_view line) { return show(line, format); });
    auto done = client.value().stream(make_request("GET", "/events", std::move(query)),
                                      [&](std::string_view bytes) { return lines.push(bytes); });
    if (!done) return fail(done.error());
    const auto rest = lines.finish();
    return rest ? 0 : fail(rest.error());
}

}  // namespace drupe::cli
