// drupe stop, restart, kill, pause, unpause and rm: something done to each of the containers named.

#include "api/engine/container.h"
#include "cli/command.h"
#include "cli/daemon.h"

namespace drupe::cli {

namespace {

/// stop, or restart: how long to wait, and for which signal.
int end_command(const char* verb, Args& args, int argc, char** argv) {
    std::vector<std::string> names;
    std::optional<uint32_t> timeout_s;
    std::string signal;
    args.value("-t,--time,--timeout", "SECONDS", timeout_s,
               "How long to wait before SIGKILL (default 10)");
    args.value("-s,--signal", "SIGNAL", signal, "What to send first (default: the stop signal)");
    args.operands(names, 1, SIZE_MAX);
    if (const auto code = args.parse(argc, argv)) return *code;
    client::Pairs query;
    if (timeout_s) query.emplace_back("t", std::to_string(*timeout_s));
    if (!signal.empty()) query.emplace_back("signal", signal);
    return ask_each(names, "POST", verb, query);
}

}  // namespace

int stop_command(int argc, char** argv) {
    Args args("stop", "CONTAINER [CONTAINER...]",
              "Stop running containers: the stop signal, then SIGKILL.");
    args.example("drupe stop -t 30 db", "give it half a minute to finish");
    return end_command("/stop", args, argc, argv);
}

int restart_command(int argc, char** argv) {
    Args args("restart", "CONTAINER [CONTAINER...]", "Stop containers, and start them again.");
    args.example("drupe restart web", "a new machine on the same disk");
    return end_command("/restart", args, argc, argv);
}

int kill_command(int argc, char** argv) {
    std::vector<std::string> names;
    std::string signal = "KILL";
    Args args("kill", "CONTAINER [CONTAINER...]", "Send a signal to running containers.");
    args.value("-s,--signal", "SIGNAL", signal, "Which one: HUP, SIGHUP or 1 (default KILL)");
    args.operands(names, 1, SIZE_MAX);
    args.example("drupe kill -s HUP web", "have it read its configuration again");
    if (const auto code = args.parse(argc, argv)) return *code;
    const auto number = engine::parse_signal(signal);
    if (!number) return fail(number.error());
    return ask_each(names, "POST", "/kill", {{"signal", signal}});
}

int pause_command(int argc, char** argv) {
    std::vector<std::string> names;
    Args args("pause", "CONTAINER [CONTAINER...]", "Have running containers stand still.");
    args.operands(names, 1, SIZE_MAX);
    args.example("drupe pause db && drupe unpause db", "and go on");
    if (const auto code = args.parse(argc, argv)) return *code;
    return ask_each(names, "POST", "/pause");
}

int unpause_command(int argc, char** argv) {
    std::vector<std::string> names;
    Args args("unpause", "CONTAINER [CONTAINER...]", "Let paused containers go on.");
    args.operands(names, 1, SIZE_MAX);
    args.example("drupe unpause db", "it goes on where it was");
    if (const auto code = args.parse(argc, argv)) return *code;
    return ask_each(names, "POST", "/unpause");
}

int rm_command(int argc, char** argv) {
    std::vector<std::string> names;
    bool force = false;
    Args args("rm", "CONTAINER [CONTAINER...]", "Remove containers, with their disks and logs.");
    args.flag("-f,--force", force, "Running ones too: they are killed");
    args.operands(names, 1, SIZE_MAX);
    args.example("drupe rm $(drupe ps -aq)", "all that don't run");
    if (const auto code = args.parse(argc, argv)) return *code;
    return ask_each(names, "DELETE", "", force ? client::Pairs{{"force", "1"}} : client::Pairs{},
                    force);
}

}  // namespace drupe::cli
