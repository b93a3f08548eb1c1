// drupe history.

#include "api/engine/clock.h"
#include "base/json_reader.h"
#include "cli/command.h"
#include "cli/daemon.h"
#include "cli/history_list.h"

namespace drupe::cli {
namespace {

Result<std::string> history(const std::string& name, const HistoryOptions& options) {
    TRY_ASSIGN(const auto json, ask(make_request("GET", image_path(name, "/history"))));
    if (!json.is_array()) return Error{ErrorCode::kCorrupt, "the daemon's answer is no list"};
    std::vector<ListedStep> steps;
    for (const auto& item : json) {
        ListedStep step;
        JsonReader in(item, "history");
        in.get("Id", step.id);
        in.get("Created", step.created_s);
        in.get("CreatedBy", step.created_by);
        in.get("Comment", step.comment);
        in.get("Size", step.size_bytes);
        TRY(in.status());
        steps.push_back(std::move(step));
    }
    return history_text(steps, options, engine::realtime_ns());
}

}  // namespace

int history_command(int argc, char** argv) {
    HistoryOptions options;
    std::vector<std::string> names;
    Args args("history", "IMAGE", "Show how an image was made, the last step first.");
    args.flag("-q,--quiet", options.quiet, "Print ids only");
    args.flag("--no-trunc", options.no_trunc, "Print ids and commands in full");
    args.value("--format", "FORMAT", options.format,
               "json (one document a line), or a template: '{{.CreatedBy}}', 'table ...'");
    args.operands(names, 1, 1);
    args.example("drupe history --no-trunc debian:12", "with whole commands");
    if (const auto code = args.parse(argc, argv)) return *code;
    const auto text = history(names.front(), options);
    return text ? print(text.value()) : fail(text.error());
}

}  // namespace drupe::cli
