// drupe fork: running copies of a running container.
#include <fmt/format.h>

#include "api/engine/engine.h"
#include "base/json_reader.h"
#include "cli/command.h"
#include "cli/daemon.h"

namespace drupe::cli {
namespace {

struct Forked {
    std::vector<std::string> ids;
    std::string failure;
    std::map<std::string, uint64_t> marks;
};

Result<Forked> fork(const std::string& name, const client::Pairs& query) {
    TRY_ASSIGN(const auto json, ask(make_request("POST", container_path(name, "/fork"), query)));
    Forked forked;
    JsonReader in(json);
    in.get_list("Ids", forked.ids, engine::kMaxClones);
    in.get("Failure", forked.failure);
    in.get_numbers("Marks", forked.marks);
    TRY(in.status());
    return forked;
}

std::string timing_text(const std::map<std::string, uint64_t>& marks) {
    struct Part {
        const char* name;
        const char* from;
        const char* to;
    };
    static constexpr Part kParts[] = {{"it stands still", "stopped", "going_on"},
                                      {"  saved", "stopped", "saved"},
                                      {"  disk sealed", "saved", "sealed"},
                                      {"copies started", "going_on", "done"}};
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

int fork_command(int argc, char** argv) {
    std::optional<uint32_t> count;
    std::string name;
    bool timing = false;
    std::vector<std::string> names;
    Args args("fork", "CONTAINER",
              "Copy a running container, memory and all: its copies run on from where it is, each "
              "in a machine of its own. It stands still for moments meanwhile.");
    args.value("-n,--count", "NUMBER", count, "How many (default 1)");
    args.value("--name", "NAME", name, "The copy's name; of several: NAME-1, NAME-2, ...");
    args.flag("--timing", timing, "Print where the time went, on standard error");
    args.operands(names, 1, 1);
    args.example("drupe fork -n 10 --name test db", "ten databases that are up and warm already");
    if (const auto code = args.parse(argc, argv)) return *code;
    const uint32_t wanted = count.value_or(1);
    const auto forked = fork(names[0], {{"count", std::to_string(wanted)}, {"name", name}});
    if (!forked) return fail(forked.error());
    if (timing) fmt::print(stderr, "{}", timing_text(forked.value().marks));
    std::string text;
    for (const std::string& id : forked.value().ids) text += id + "\n";
    const int printed = print(text);
    if (forked.value().failure.empty()) return printed;
    return fail(
        Error{ErrorCode::kIo, fmt::format("{} of {} copies run: {}", forked.value().ids.size(),
                                          wanted, forked.value().failure)});
}

}  // namespace drupe::cli
