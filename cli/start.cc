// drupe start.

#include "api/engine/clock.h"
#include "cli/attach.h"
#include "cli/command.h"
#include "cli/daemon.h"

namespace drupe::cli {

int start_command(int argc, char** argv) {
    std::vector<std::string> names;
    bool stay = false;
    Attach attach;
    attach.start = true;
    attach.detach_keys = "ctrl-p,ctrl-q";
    Args args("start", "CONTAINER [CONTAINER...]", "Start containers that don't run.");
    args.flag("-a,--attach", stay, "Stay with it: its output and its exit code are yours");
    args.flag("-i,--interactive", attach.with_stdin, "Connect standard input");
    args.value("--detach-keys", "KEYS", attach.detach_keys,
               "What leaves a terminal without ending it");
    args.operands(names, 1, SIZE_MAX);
    args.example("drupe start web db", "start two in the background");
    args.example("drupe start -ai work", "go on with an interactive one");
    if (const auto code = args.parse(argc, argv)) return *code;
    if (!stay && !attach.with_stdin) return ask_each(names, "POST", "/start");
    if (names.size() > 1) {
        return fail({ErrorCode::kInvalid, "only one container can be attached to at a time"});
    }
    return attach_to(names.front(), std::move(attach));
}

}  // namespace drupe::cli
