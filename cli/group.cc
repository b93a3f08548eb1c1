// drupe container, image, volume and network: groups of commands, most of which have an older name.

#include <array>
#include <vector>

#include "cli/command.h"

namespace drupe::cli {
namespace {

/// Only one kind: an image and a container may have the same name.
int inspect_kind(const char* kind, int argc, char** argv) {
    std::string type = std::string("--type=") + kind;
    std::vector<char*> words(argv, argv + argc);
    words.insert(words.begin() + 1, type.data());
    words.push_back(nullptr);
    return inspect_command(argc + 1, words.data());
}
int inspect_image(int argc, char** argv) {
    return inspect_kind("image", argc, argv);
}
int inspect_container(int argc, char** argv) {
    return inspect_kind("container", argc, argv);
}
int inspect_volume(int argc, char** argv) {
    return inspect_kind("volume", argc, argv);
}
int inspect_network(int argc, char** argv) {
    return inspect_kind("network", argc, argv);
}

constexpr std::array kImageCommands{
    CommandInfo{"history", "Show how an image was made", history_command},
    CommandInfo{"import", "Make an image of a root file system", import_command},
    CommandInfo{"inspect", "Print all that is known of images", inspect_image},
    CommandInfo{"load", "Load images from an archive or an OCI layout", load_command},
    CommandInfo{"ls", "List images", images_command},
    CommandInfo{"prune", "Remove images that nobody needs", image_prune_command},
    CommandInfo{"pull", "Get an image from a registry", pull_command},
    CommandInfo{"push", "Send an image to a registry", push_command},
    CommandInfo{"rm", "Remove images", rmi_command},
    CommandInfo{"save", "Write images to an archive", save_command},
    CommandInfo{"tag", "Give an image another name", tag_command},
};

constexpr std::array kContainerCommands{
    CommandInfo{"attach", "Connect to the streams of a running container", attach_command},
    CommandInfo{"commit", "Make an image of what a container has changed", commit_command},
    CommandInfo{"cp", "Copy files between a container and the host", cp_command},
    CommandInfo{"create", "Create a container without starting it", create_command},
    CommandInfo{"diff", "List what changed in a container's files", diff_command},
    CommandInfo{"exec", "Run a command in a running container", exec_command},
    CommandInfo{"export", "Write a container's files as a tar", export_command},
    CommandInfo{"inspect", "Print all that is known of containers", inspect_container},
    CommandInfo{"kill", "Send a signal to running containers", kill_command},
    CommandInfo{"logs", "Print what a container has written", logs_command},
    CommandInfo{"ls", "List containers", ps_command},
    CommandInfo{"pause", "Have running containers stand still", pause_command},
    CommandInfo{"port", "List a container's published ports", port_command},
    CommandInfo{"prune", "Remove all stopped containers", container_prune_command},
    CommandInfo{"rename", "Give a container another name", rename_command},
    CommandInfo{"restart", "Stop containers, and start them again", restart_command},
    CommandInfo{"rm", "Remove containers", rm_command},
    CommandInfo{"run", "Create a microVM from an image, and run a command in it", run_command},
    CommandInfo{"start", "Start containers that don't run", start_command},
    CommandInfo{"stats", "Show what containers use", stats_command},
    CommandInfo{"stop", "Stop running containers", stop_command},
    CommandInfo{"top", "Show what runs in a container", top_command},
    CommandInfo{"unpause", "Let paused containers go on", unpause_command},
    CommandInfo{"update", "Change limits of containers", update_command},
    CommandInfo{"wait", "Wait until containers stop, and print their exit codes", wait_command},
};

constexpr std::array kVolumeCommands{
    CommandInfo{"create", "Create a volume", volume_create_command},
    CommandInfo{"inspect", "Print all that is known of volumes", inspect_volume},
    CommandInfo{"ls", "List volumes", volume_ls_command},
    CommandInfo{"prune", "Remove volumes that nobody needs", volume_prune_command},
    CommandInfo{"rm", "Remove volumes", volume_rm_command},
};

constexpr std::array kNetworkCommands{
    CommandInfo{"create", "Create a network", network_create_command},
    CommandInfo{"inspect", "Print all that is known of networks", inspect_network},
    CommandInfo{"ls", "List networks", network_ls_command},
    CommandInfo{"prune", "Remove networks that nobody needs", network_prune_command},
    CommandInfo{"rm", "Remove networks", network_rm_command},
};

}  // namespace

std::span<const CommandInfo> group_of(std::string_view name) {
    if (name == "container") return kContainerCommands;
    if (name == "image") return kImageCommands;
    if (name == "volume") return kVolumeCommands;
    if (name == "network") return kNetworkCommands;
    if (name == "system") return system_commands();
    if (name == "layer") return layer_commands();
    if (name == "snapshot") return snapshot_commands();
    return {};
}

int image_command(int argc, char** argv) {
    return run_subcommand("image", "Commands about images.", kImageCommands, argc, argv);
}
int container_command(int argc, char** argv) {
    return run_subcommand("container", "Commands about containers.", kContainerCommands, argc,
                          argv);
}
int volume_command(int argc, char** argv) {
    return run_subcommand("volume",
                          "Commands about volumes: names, so far, that no container mounts.",
                          kVolumeCommands, argc, argv);
}
int network_command(int argc, char** argv) {
    return run_subcommand("network",
                          "Commands about networks: names, so far, that carry no packets.",
                          kNetworkCommands, argc, argv);
}

}  // namespace drupe::cli
