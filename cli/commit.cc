// drupe commit.

#include <fmt/format.h>

#include "api/engine/local.h"
#include "cli/command.h"
#include "cli/session.h"

namespace drupe::cli {
namespace {

/// How long each part took; what the machine stood still for is freeze to resume.
std::string timing_text(const std::map<std::string, uint64_t>& marks) {
    struct Part {
        const char* name;
        const char* from;
        const char* to;
    };
    static constexpr Part kParts[] = {{"freeze and write out", "begun", "released"},
                                      {"seal", "released", "sealed"},
                                      {"resume", "sealed", "replaced"},
                                      {"record the image", "replaced", "recorded"}};
    std::string text = "\n";
    for (const Part& part : kParts) {
        const auto from = marks.find(part.from);
        const auto to = marks.find(part.to);
        if (from == marks.end() || to == marks.end()) continue;
        text += fmt::format("  {:<22} {:>10.2f} ms\n", part.name,
                            static_cast<double>(to->second - from->second) / 1e6);
    }
    return text;
}

}  // namespace

int commit_command(int argc, char** argv) {
    engine::CommitRequest request;
    std::vector<std::string> names;
    bool timing = false;
    Args args("commit", "CONTAINER [NAME[:TAG]]",
              "Make an image of what a container has changed. A running one stands still for "
              "moments meanwhile.");
    args.value("-a,--author", "TEXT", request.words.author, "Who made it");
    args.value("-m,--message", "TEXT", request.words.comment, "What for");
    args.values("-c,--change", "INSTRUCTION", request.words.changes,
                "A Dockerfile instruction: 'CMD [\"app\"]', 'ENV A=b', 'EXPOSE 80', 'LABEL ...', "
                "'USER', 'VOLUME', 'WORKDIR', 'ENTRYPOINT', 'STOPSIGNAL', 'ONBUILD'");
    args.flag("-p,--pause", request.pause,
              "Freeze its file system meanwhile (default); --pause=false makes an image as after a "
              "loss of power");
    args.flag("--timing", timing, "Print where the time went");
    args.operands(names, 1, 2);
    args.example("drupe commit -c 'CMD [\"redis-server\"]' warm cache:warm",
                 "an image of a container that was set up by hand");
    args.example("drupe commit --pause=false db snapshot:1", "without holding its writes up");
    if (const auto code = args.parse(argc, argv)) return *code;
    if (names.size() > 1) request.reference = names[1];
    auto local = open_engine();
    if (!local) return fail(local.error());
    const auto committed = local.value()->engine->commit(names[0], request);
    if (!committed) return fail(committed.error());
    if (request.pause && !committed.value().consistent) {
        fmt::print(stderr,
                   "drupe: the guest's file system couldn't be frozen: the image holds what a loss "
                   "of power would have left, files that were being written may be incomplete\n");
    }
    if (timing) fmt::print(stderr, "{}", timing_text(committed.value().marks));
    const int printed = print(committed.value().image_id + "\n");
    maintain_later();
    return printed;
}

}  // namespace drupe::cli
