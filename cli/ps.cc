#include <algorithm>

#include "api/engine/clock.h"
#include "api/engine/local.h"
#include "cli/command.h"
#include "cli/container_list.h"
#include "cli/daemon.h"
#include "cli/remote.h"
#include "cli/session.h"

namespace drupe::cli {

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
    const auto filters = parse_filters(filter_texts);
    if (!filters) return fail(filters.error());
    if (over_api()) return remote_ps(all, filters.value(), options);
    auto local = open_engine();
    if (!local) return fail(local.error());
    auto containers = local.value()->engine->list();
    if (!containers) return fail(containers.error());
    // As Docker's: who asks for a status wants to see it.
    all = all || std::any_of(filters.value().begin(), filters.value().end(),
                             [](const auto& f) { return f.key == "status" || f.key == "exited"; });
    std::erase_if(containers.value(), [&](const engine::Container& c) {
        const bool up = c.state == engine::State::kRunning || c.state == engine::State::kPaused;
        return (!all && !up) || !matches(c, filters.value());
    });
    const auto text = list_text(containers.value(), options, engine::realtime_ns());
    return text ? print(text.value()) : fail(text.error());
}

}  // namespace drupe::cli
