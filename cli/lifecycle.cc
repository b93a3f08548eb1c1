// drupe stop, kill, pause, unpause, wait and rm: something done to each of the containers named.

#include "api/engine/local.h"
#include "cli/command.h"
#include "cli/daemon.h"
#include "cli/remote.h"
#include "cli/session.h"

namespace drupe::cli {
namespace {

using Work = std::function<Result<std::string>(engine::Engine&, const std::string&)>;

int do_to_each(const std::vector<std::string>& names, const Work& work) {
    auto local = open_engine();
    if (!local) return fail(local.error());
    return for_each(names,
                    [&](const std::string& name) { return work(*local.value()->engine, name); });
}

}  // namespace

int stop_command(int argc, char** argv) {
    std::vector<std::string> names;
    std::optional<uint32_t> timeout_s;
    Args args("stop", "CONTAINER [CONTAINER...]",
              "Stop running containers: the stop signal, then SIGKILL.");
    args.value("-t,--time,--timeout", "SECONDS", timeout_s,
               "How long to wait in between (default 10)");
    args.operands(names, 1, SIZE_MAX);
    args.example("drupe stop -t 30 db", "give it half a minute to finish");
    if (const auto code = args.parse(argc, argv)) return *code;
    if (over_api()) {
        client::Pairs query;
        if (timeout_s) query.emplace_back("t", std::to_string(*timeout_s));
        return ask_each(names, "POST", "/stop", query);
    }
    return do_to_each(names,
                      [&](engine::Engine& engine, const std::string& name) -> Result<std::string> {
                          TRY(engine.stop(name, timeout_s));
                          return name;
                      });
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
    if (over_api()) return ask_each(names, "POST", "/kill", {{"signal", signal}});
    return do_to_each(names,
                      [&](engine::Engine& engine, const std::string& name) -> Result<std::string> {
                          TRY(engine.kill(name, number.value()));
                          return name;
                      });
}

int pause_command(int argc, char** argv) {
    std::vector<std::string> names;
    Args args("pause", "CONTAINER [CONTAINER...]", "Have running containers stand still.");
    args.operands(names, 1, SIZE_MAX);
    args.example("drupe pause db && drupe unpause db", "and go on");
    if (const auto code = args.parse(argc, argv)) return *code;
    if (over_api()) return ask_each(names, "POST", "/pause");
    return do_to_each(names,
                      [](engine::Engine& engine, const std::string& name) -> Result<std::string> {
                          TRY(engine.pause(name));
                          return name;
                      });
}

int unpause_command(int argc, char** argv) {
    std::vector<std::string> names;
    Args args("unpause", "CONTAINER [CONTAINER...]", "Let paused containers go on.");
    args.operands(names, 1, SIZE_MAX);
    args.example("drupe unpause db", "it goes on where it was");
    if (const auto code = args.parse(argc, argv)) return *code;
    if (over_api()) return ask_each(names, "POST", "/unpause");
    return do_to_each(names,
                      [](engine::Engine& engine, const std::string& name) -> Result<std::string> {
                          TRY(engine.unpause(name));
                          return name;
                      });
}

int wait_command(int argc, char** argv) {
    std::vector<std::string> names;
    Args args("wait", "CONTAINER [CONTAINER...]",
              "Wait until containers stop, and print their exit codes.");
    args.operands(names, 1, SIZE_MAX);
    args.example("id=$(drupe run -d app) && drupe wait $id", "the code of one in the background");
    if (const auto code = args.parse(argc, argv)) return *code;
    if (over_api()) return remote_wait(names);
    return do_to_each(names,
                      [](engine::Engine& engine, const std::string& name) -> Result<std::string> {
                          TRY_ASSIGN(const uint32_t code, engine.wait(name));
                          return std::to_string(code);
                      });
}

int rm_command(int argc, char** argv) {
    std::vector<std::string> names;
    bool force = false;
    Args args("rm", "CONTAINER [CONTAINER...]", "Remove containers, with their disks and logs.");
    args.flag("-f,--force", force, "Running ones too: they are killed");
    args.operands(names, 1, SIZE_MAX);
    args.example("drupe rm $(drupe ps -aq)", "all that don't run");
    if (const auto code = args.parse(argc, argv)) return *code;
    if (over_api()) {
        return ask_each(names, "DELETE", "",
                        force ? client::Pairs{{"force", "1"}} : client::Pairs{}, force);
    }
    return do_to_each(
        names, [&](engine::Engine& engine, const std::string& name) -> Result<std::string> {
            auto removed = engine.remove(name, force);
            // As Docker's: what isn't there needn't be removed.
            if (!removed && !(force && removed.error().code == ErrorCode::kNotFound)) {
                return std::move(removed).error();
            }
            return name;
        });
}

/// Not for people: what is left to do once `drupe run` has answered.
int clean_up_command(int argc, char** argv) {
    if (argc != 2) return kUsageError;
    auto local = open_engine();
    if (!local) return kFailure;
    const auto found = std::string(argv[1]);
    if (found.size() != engine::kIdDigits ||
        found.find_first_not_of("0123456789abcdef") != std::string::npos) {
        return kUsageError;
    }
    return local.value()->engine->clean_up(found) ? 0 : kFailure;
}

}  // namespace drupe::cli
