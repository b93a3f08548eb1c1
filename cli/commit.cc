// drupe commit.

#include <fmt/format.h>

#include "api/engine/engine.h"
#include "base/json_reader.h"
#include "cli/command.h"
#include "cli/daemon.h"
#include "imagefs/oci/reference.h"

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

Result<client::Pairs> query_of(const std::vector<std::string>& names,
                               const engine::CommitWords& words, bool pause, bool live) {
    client::Pairs query{{"container", names[0]},
                        {"author", words.author},
                        {"comment", words.comment},
                        {"pause", pause ? "1" : "0"},
                        {"live", live ? "1" : "0"}};
    for (const std::string& change : words.changes) query.emplace_back("changes", change);
    if (names.size() == 1) return query;
    TRY_ASSIGN(const auto name, imagefs::oci::Reference::parse(names[1]));
    if (name.digest) {
        return Error{ErrorCode::kInvalid, "refusing to create a tag with a digest reference"};
    }
    query.emplace_back("repo", name.registry + "/" + name.repository);
    query.emplace_back("tag", name.tag);
    return query;
}

Result<engine::Committed> commit(const client::Pairs& query) {
    TRY_ASSIGN(const auto json, ask(make_request("POST", "/commit", query)));
    engine::Committed committed;
    committed.consistent = true;
    JsonReader in(json);
    in.get("Id", committed.image_id);
    if (const nlohmann::json* own = in.object("Drupe")) {
        JsonReader part(*own);
        part.get("Consistent", committed.consistent);
        part.get_numbers("Marks", committed.marks);
        in.check(part.status());
    }
    TRY(in.status());
    return committed;
}

}  // namespace

int commit_command(int argc, char** argv) {
    engine::CommitWords words;
    bool pause = true;
    std::vector<std::string> names;
    bool timing = false;
    bool live = false;
    Args args("commit", "CONTAINER [NAME[:TAG]]",
              "Make an image of what a container has changed. A running one stands still for "
              "moments meanwhile.");
    args.value("-a,--author", "TEXT", words.author, "Who made it");
    args.value("-m,--message", "TEXT", words.comment, "What for");
    args.values("-c,--change", "INSTRUCTION", words.changes,
                "A Dockerfile instruction: 'CMD [\"app\"]', 'ENV A=b', 'EXPOSE 80', 'LABEL ...', "
                "'USER', 'VOLUME', 'WORKDIR', 'ENTRYPOINT', 'STOPSIGNAL', 'ONBUILD'");
    args.flag("-p,--pause", pause,
              "Freeze its file system meanwhile (default); --pause=false makes an image as after a "
              "loss of power");
    args.flag(
        "--live", live,
        "With its memory: `drupe run NAME`, without a command or options of the program, goes "
        "on from there");
    args.flag("--timing", timing, "Print where the time went");
    args.operands(names, 1, 2);
    args.example("drupe commit -c 'CMD [\"redis-server\"]' warm cache:warm",
                 "an image of a container that was set up by hand");
    args.example("drupe commit --live db db:warm && drupe run -d db:warm",
                 "a database that is up from the first moment on");
    args.example("drupe commit --pause=false db snapshot:1", "without holding its writes up");
    if (const auto code = args.parse(argc, argv)) return *code;
    const auto query = query_of(names, words, pause, live);
    if (!query) return fail(query.error());
    const auto committed = commit(query.value());
    if (!committed) return fail(committed.error());
    if (pause && !live && !committed.value().consistent) {
        fmt::print(stderr,
                   "drupe: the guest's file system couldn't be frozen: the image holds what a loss "
                   "of power would have left, files that were being written may be incomplete\n");
    }
    if (timing) fmt::print(stderr, "{}", timing_text(committed.value().marks));
    return print(committed.value().image_id + "\n");
}

}  // namespace drupe::cli
