#pragma once

#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "cli/args.h"

namespace drupe::cli {

/// A command of `drupe`: gets argv from its own name on, returns the exit code.
using CommandFunction = int (*)(int argc, char** argv);

struct CommandInfo {
    const char* name;
    const char* summary;
    CommandFunction run;
};

/// The whole program; returns the exit code, to leave() with.
int main_program(int argc, char** argv);

// One file for each, or for a few that are alike.
int attach_command(int argc, char** argv);
int complete_command(int argc, char** argv);
int completion_command(int argc, char** argv);
int commit_command(int argc, char** argv);
int container_command(int argc, char** argv);
int container_prune_command(int argc, char** argv);
int cp_command(int argc, char** argv);
int create_command(int argc, char** argv);
int diff_command(int argc, char** argv);
int doctor_command(int argc, char** argv);
int events_command(int argc, char** argv);
int exec_command(int argc, char** argv);
int export_command(int argc, char** argv);
int fork_command(int argc, char** argv);
int history_command(int argc, char** argv);
int image_command(int argc, char** argv);
int image_prune_command(int argc, char** argv);
int images_command(int argc, char** argv);
int import_command(int argc, char** argv);
int info_command(int argc, char** argv);
int inspect_command(int argc, char** argv);
int kill_command(int argc, char** argv);
int layer_command(int argc, char** argv);
int load_command(int argc, char** argv);
int login_command(int argc, char** argv);
int logout_command(int argc, char** argv);
int logs_command(int argc, char** argv);
int man_pages_command(int argc, char** argv);
int network_command(int argc, char** argv);
int network_create_command(int argc, char** argv);
int network_ls_command(int argc, char** argv);
int network_prune_command(int argc, char** argv);
int network_rm_command(int argc, char** argv);
int pause_command(int argc, char** argv);
int port_command(int argc, char** argv);
int ps_command(int argc, char** argv);
int pull_command(int argc, char** argv);
int push_command(int argc, char** argv);
int rename_command(int argc, char** argv);
int restart_command(int argc, char** argv);
int rm_command(int argc, char** argv);
int rmi_command(int argc, char** argv);
int run_command(int argc, char** argv);
int save_command(int argc, char** argv);
int rollback_command(int argc, char** argv);
int snapshot_command(int argc, char** argv);
int start_command(int argc, char** argv);
int stats_command(int argc, char** argv);
int stop_command(int argc, char** argv);
int system_command(int argc, char** argv);
int tag_command(int argc, char** argv);
int top_command(int argc, char** argv);
int unpause_command(int argc, char** argv);
int update_command(int argc, char** argv);
int version_command(int argc, char** argv);
int volume_command(int argc, char** argv);
int volume_create_command(int argc, char** argv);
int volume_ls_command(int argc, char** argv);
int volume_prune_command(int argc, char** argv);
int volume_rm_command(int argc, char** argv);
int wait_command(int argc, char** argv);

[[nodiscard]] std::span<const CommandInfo> all_commands();
/// The commands of "container", "image", "system", ...; empty: `name` is no group.
[[nodiscard]] std::span<const CommandInfo> group_of(std::string_view name);
[[nodiscard]] std::span<const CommandInfo> layer_commands();
[[nodiscard]] std::span<const CommandInfo> snapshot_commands();
[[nodiscard]] std::span<const CommandInfo> system_commands();
/// Null: there is none of that name.
[[nodiscard]] const CommandInfo* find_command(std::span<const CommandInfo> commands,
                                              std::string_view name);
/// What a command's arguments are, instead of running it.
[[nodiscard]] std::string describe_args(const CommandInfo& command, ArgsPurpose purpose);

/// A command that only has commands of its own: runs the one that argv[1] names, or prints them.
int run_subcommand(std::string_view name, std::string_view summary,
                   std::span<const CommandInfo> commands, int argc, char** argv);

/// Says what went wrong, "drupe: ...", and returns the code.
int fail(const Error& error, int code = kFailure);
/// Writes to standard output; what can't be written is a failure.
int print(std::string_view text);
/// Asks on standard output; true if standard input says yes.
bool confirmed(std::string_view warning);
/// Does something to each name, prints what it returns for it (or the error), goes on. 1 if any
/// failed.
int for_each(const std::vector<std::string>& names,
             const std::function<Result<std::string>(const std::string&)>& work);
/// Every way out: the terminal is put back, output flushed; no destructor runs (threads may be
/// blocked for ever).
[[noreturn]] void leave(int code);

}  // namespace drupe::cli
