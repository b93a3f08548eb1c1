// drupe snapshot and rollback: machines that are kept as they were at a moment.

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <array>
#include <ctime>

#include "base/json_reader.h"
#include "cli/command.h"
#include "cli/daemon.h"
#include "cli/template.h"
#include "cli/text.h"

namespace drupe::cli {
namespace {

constexpr size_t kSecondsOfTime = 19;  // of 2026-01-31T12:00:00.123456789Z

std::string name_by_time() {
    return fmt::format("{:%Y%m%d-%H%M%S}", fmt::gmtime(std::time(nullptr)));
}

Result<std::string> list_text(const nlohmann::json& items, bool quiet) {
    Table table({"NAME", "CREATED", "SIZE"});
    std::string names;
    for (const auto& item : items) {
        std::string name;
        std::string created;
        uint64_t bytes = 0;
        JsonReader in(item, "snapshots");
        in.get("Name", name);
        in.get("Created", created);
        in.get("Size", bytes);
        TRY(in.status());
        names += name + "\n";
        table.row({name, created.substr(0, kSecondsOfTime), human_size(bytes)});
    }
    return quiet ? names : table.text();
}

int snapshot_create_command(int argc, char** argv) {
    std::vector<std::string> names;
    bool stop = false;
    Args args("snapshot create", "CONTAINER [NAME]",
              "Keep a running container as it is: memory, disk and devices, as one. It stands "
              "still for moments meanwhile. Prints the snapshot's name.");
    args.flag("--stop", stop, "Kill it when its snapshot is there");
    args.operands(names, 1, 2);
    args.example("drupe snapshot create db loaded", "and drupe rollback db loaded goes back to it");
    if (const auto code = args.parse(argc, argv)) return *code;
    const std::string name = names.size() == 2 ? names[1] : name_by_time();
    const auto made = order(make_request("POST", container_path(names[0], "/checkpoints"), {},
                                         dump_json({{"CheckpointID", name}, {"Exit", stop}})));
    return made ? print(name + "\n") : fail(made.error());
}

int snapshot_ls_command(int argc, char** argv) {
    std::vector<std::string> names;
    bool quiet = false;
    bool json = false;
    std::string format;
    Args args("snapshot ls", "CONTAINER", "List a container's snapshots, the oldest first.");
    args.flag("-q,--quiet", quiet, "Print names only");
    args.value("--format", "FORMAT", format, "json (one document a line), or a template");
    args.flag("--json", json, "Print a JSON array");
    args.operands(names, 1, 1);
    args.example("drupe snapshot ls db", "all of them");
    if (const auto code = args.parse(argc, argv)) return *code;
    const auto items = ask(make_request("GET", container_path(names[0], "/checkpoints")));
    if (!items) return fail(items.error());
    if (!items.value().is_array()) {
        return fail({ErrorCode::kCorrupt, "the daemon's answer is no list"});
    }
    if (json) return print(dump_json(items.value()) + "\n");
    const auto text =
        format.empty() ? list_text(items.value(), quiet) : render_list(format, items.value());
    return text ? print(text.value()) : fail(text.error());
}

int snapshot_rm_command(int argc, char** argv) {
    std::vector<std::string> names;
    Args args("snapshot rm", "CONTAINER NAME [NAME...]", "Remove snapshots of a container.");
    args.operands(names, 2, SIZE_MAX);
    args.example("drupe snapshot rm db loaded", "containers that went on from it stay");
    if (const auto code = args.parse(argc, argv)) return *code;
    int code = 0;
    for (size_t i = 1; i < names.size(); ++i) {
        const std::string path =
            container_path(names[0], "/checkpoints/") + client::escape(names[i]);
        const auto removed = order(make_request("DELETE", path));
        code = removed ? print(names[i] + "\n") : fail(removed.error());
        if (code != 0) return code;
    }
    return code;
}

constexpr std::array kSubcommands{
    CommandInfo{"create", "Keep a running container as it is", snapshot_create_command},
    CommandInfo{"ls", "List a container's snapshots", snapshot_ls_command},
    CommandInfo{"rm", "Remove snapshots", snapshot_rm_command},
};

/// One that goes with its end would be gone before it could go back.
Status check_stays(const nlohmann::json& container) {
    bool auto_remove = false;
    JsonReader in(container);
    const auto* host = in.object("HostConfig");
    TRY(in.status());
    if (host != nullptr) {
        JsonReader inner(*host, "HostConfig");
        inner.get("AutoRemove", auto_remove);
        TRY(inner.status());
    }
    if (!auto_remove) return ok();
    return Error{ErrorCode::kInvalid,
                 "it was made with --rm, and would be removed when its machine is: make another "
                 "one of its snapshot (drupe run --from-snapshot)"};
}

Status roll_back(const std::string& container, const std::string& snapshot) {
    TRY_ASSIGN(const auto is, ask(make_request("GET", container_path(container, "/json"))));
    TRY(check_stays(is));
    // A wrong name is said before anything is killed.
    TRY_ASSIGN(const auto items,
               ask(make_request("GET", container_path(container, "/checkpoints"))));
    bool there = false;
    for (const auto& item : items) {
        std::string name;
        JsonReader(item).get("Name", name);
        there = there || name == snapshot;
    }
    if (!there) {
        return Error{ErrorCode::kNotFound,
                     fmt::format("container {} has no snapshot {}", container, snapshot)};
    }
    // Not a kill: a container that waits for its restart is to wait no longer.
    TRY(order(make_request("POST", container_path(container, "/stop"),
                           {{"signal", "KILL"}, {"t", "0"}})));
    return order(
        make_request("POST", container_path(container, "/start"), {{"checkpoint", snapshot}}));
}

}  // namespace

std::span<const CommandInfo> snapshot_commands() {
    return kSubcommands;
}

int snapshot_command(int argc, char** argv) {
    return run_subcommand("snapshot", "Keep running containers as they are at a moment.",
                          kSubcommands, argc, argv);
}

int rollback_command(int argc, char** argv) {
    std::vector<std::string> names;
    Args args("rollback", "CONTAINER NAME",
              "Have a container go on from a snapshot of it: its memory and its disk are what they "
              "were then. What it has done since is lost.");
    args.operands(names, 2, 2);
    args.example("drupe rollback db loaded", "back to what drupe snapshot create db loaded kept");
    if (const auto code = args.parse(argc, argv)) return *code;
    const auto done = roll_back(names[0], names[1]);
    return done ? print(names[0] + "\n") : fail(done.error());
}

}  // namespace drupe::cli
