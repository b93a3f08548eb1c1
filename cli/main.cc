// drupe: arguments -> the API (api/client) -> output.

#include <fcntl.h>
#include <fmt/format.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

#include "base/log.h"
#include "cli/command.h"

namespace drupe::cli {
namespace {

constexpr std::array kCommands{
    CommandInfo{"run", "Create a microVM from an image, and run a command in it", run_command},
    CommandInfo{"exec", "Run a command in a running container", exec_command},
    CommandInfo{"ps", "List containers", ps_command},
    CommandInfo{"create", "Create a container without starting it", create_command},
    CommandInfo{"start", "Start containers that don't run", start_command},
    CommandInfo{"stop", "Stop running containers", stop_command},
    CommandInfo{"restart", "Stop containers, and start them again", restart_command},
    CommandInfo{"kill", "Send a signal to running containers", kill_command},
    CommandInfo{"pause", "Have running containers stand still", pause_command},
    CommandInfo{"unpause", "Let paused containers go on", unpause_command},
    CommandInfo{"fork", "Copy running containers, memory and all", fork_command},
    CommandInfo{"snapshot", "Keep running containers as they are at a moment", snapshot_command},
    CommandInfo{"rollback", "Have a container go on from a snapshot", rollback_command},
    CommandInfo{"rename", "Give a container another name", rename_command},
    CommandInfo{"update", "Change limits of containers", update_command},
    CommandInfo{"top", "Show what runs in a container", top_command},
    CommandInfo{"stats", "Show what containers use", stats_command},
    CommandInfo{"port", "List a container's published ports (none yet)", port_command},
    CommandInfo{"wait", "Wait until containers stop, and print their exit codes", wait_command},
    CommandInfo{"attach", "Connect to the streams of a running container", attach_command},
    CommandInfo{"logs", "Print what a container has written", logs_command},
    CommandInfo{"inspect", "Print all that is known of containers or images", inspect_command},
    CommandInfo{"cp", "Copy files between a container and the host", cp_command},
    CommandInfo{"diff", "List what changed in a container's files", diff_command},
    CommandInfo{"export", "Write a container's files as a tar", export_command},
    CommandInfo{"rm", "Remove containers", rm_command},
    CommandInfo{"commit", "Make an image of what a container has changed", commit_command},
    CommandInfo{"images", "List images", images_command},
    CommandInfo{"pull", "Get an image from a registry", pull_command},
    CommandInfo{"push", "Send an image to a registry", push_command},
    CommandInfo{"login", "Log in to a registry", login_command},
    CommandInfo{"logout", "Log out of a registry", logout_command},
    CommandInfo{"load", "Load images from an archive or an OCI layout", load_command},
    CommandInfo{"save", "Write images to an archive", save_command},
    CommandInfo{"import", "Make an image of a root file system", import_command},
    CommandInfo{"history", "Show how an image was made", history_command},
    CommandInfo{"tag", "Give an image another name", tag_command},
    CommandInfo{"rmi", "Remove images", rmi_command},
    CommandInfo{"container", "Commands about containers: container ls, container prune, ...",
                container_command},
    CommandInfo{"image", "Commands about images: image inspect, image prune, ...", image_command},
    CommandInfo{"network", "Commands about networks", network_command},
    CommandInfo{"volume", "Commands about volumes", volume_command},
    CommandInfo{"events", "Print what happens, as it does", events_command},
    CommandInfo{"info", "Show what the daemon says of itself", info_command},
    CommandInfo{"layer", "Look into the layers that images are made of", layer_command},
    CommandInfo{"system", "Show, check and tidy what is on the host's disk", system_command},
    CommandInfo{"doctor", "Check whether this host can run microVMs", doctor_command},
    CommandInfo{"completion", "Print a shell's script of completions", completion_command},
    CommandInfo{"version", "Print the versions of command and daemon", version_command},
};
std::string usage() {
    std::string text =
        "Usage:  drupe COMMAND [OPTIONS]\n\nMicroVMs that feel like containers: each has its own "
        "Linux kernel, on KVM.\n\nCommands:\n";
    for (const CommandInfo& command : kCommands) {
        text += fmt::format("  {:<10} {}\n", command.name, command.summary);
    }
    return text +
           "\nRun 'drupe COMMAND --help' for a command's options and examples.\n\n"
           "Examples:\n"
           "  drupe run --rm busybox uname -r          # the built-in image; no network needed\n"
           "  drupe load -i image.tar && drupe images  # images from docker save, skopeo, umoci\n"
           "  drupe run -it debian:12 bash\n\n"
           "druped does the work, and is started if it doesn't run. Its socket is "
           "/run/drupe/drupe.sock, or\n"
           "what -H unix://PATH in front of the command (or $DRUPE_HOST) says; a daemon that is "
           "named so isn't\n"
           "started. Its state is in $DRUPE_ROOT (default /var/lib/drupe; of another one the "
           "socket is\n"
           "$DRUPE_ROOT/run/drupe.sock).\n";
}

/// Files that are opened must not become standard streams.
void open_standard_streams() {
    int fd = 0;
    do {
        fd = ::open("/dev/null", O_RDWR);  // NOLINT: stays open on purpose
    } while (fd >= 0 && fd <= 2);
    if (fd > 2) ::close(fd);
}

int unknown_command(std::string_view name) {
    if (name.starts_with('-')) {
        return fail({ErrorCode::kInvalid, fmt::format("unknown flag: {}\n\nRun 'drupe --help' for "
                                                      "more information",
                                                      name)},
                    kUsageError);
    }
    if (const auto* found = find_unsupported(unsupported_commands(), name)) {
        return fail({ErrorCode::kUnsupported,
                     fmt::format("command {} is not supported: {}", name, found->why)});
    }
    return fail({ErrorCode::kInvalid,
                 fmt::format("unknown command: drupe {}\n\nRun 'drupe --help' for more information",
                             name)});
}

int help(int argc, char** argv) {
    if (argc < 2) return print(usage());
    const CommandInfo* command = find_command(kCommands, argv[1]);
    if (command == nullptr) {
        return unknown_command(argv[1]);
    }
    char option[] = "--help";
    std::array<char*, 3> arguments{argv[1], option, nullptr};
    return command->run(2, arguments.data());
}

}  // namespace

std::span<const CommandInfo> all_commands() {
    return kCommands;
}

int main_program(int argc, char** argv) {
    open_standard_streams();
    set_log_program("drupe");
    if (argc < 2) return print(usage());
    if (const std::string_view option = argv[1];
        option == "-H" || option == "--host" || option.starts_with("--host=")) {
        const bool apart = option.find('=') == std::string_view::npos;
        if (apart && argc < 3) {
            return fail({ErrorCode::kInvalid, fmt::format("flag needs an argument: {}", option)},
                        kUsageError);
        }
        ::setenv("DRUPE_HOST", apart ? argv[2] : argv[1] + option.find('=') + 1, 1);
        const int taken = apart ? 2 : 1;
        return main_program(argc - taken, argv + taken);
    }
    const std::string name = argv[1];
    if (name == "help" || name == "--help" || name == "-h") return help(argc - 1, argv + 1);
    if (name == "--version" || name == "-v") return version_command(1, argv);
    // Not for people: the shells' scripts ask, and the build.
    if (name == "__complete") return complete_command(argc - 1, argv + 1);
    if (name == "man-pages") return man_pages_command(argc - 1, argv + 1);
    const CommandInfo* command = find_command(kCommands, name);
    if (command != nullptr) return command->run(argc - 1, argv + 1);
    return unknown_command(name);
}

}  // namespace drupe::cli
