// drupe history.

#include "api/engine/clock.h"
#include "api/engine/local.h"
#include "cli/command.h"
#include "cli/history_list.h"
#include "cli/session.h"

namespace drupe::cli {

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
    auto local = open_engine();
    if (!local) return fail(local.error());
    const auto entries = local.value()->images->history(names.front());
    if (!entries) return fail(entries.error());
    const auto text = history_text(entries.value(), options, engine::realtime_ns());
    return text ? print(text.value()) : fail(text.error());
}

}  // namespace drupe::cli
