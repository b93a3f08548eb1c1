// drupe image COMMAND: Docker's newer names of commands about images.

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <string_view>
#include <vector>

#include "cli/command.h"

namespace drupe::cli {
namespace {

/// Only images: a container may have the same name.
int inspect_image(int argc, char** argv) {
    char type[] = "--type=image";
    std::vector<char*> words(argv, argv + argc);
    words.insert(words.begin() + 1, type);
    words.push_back(nullptr);
    return inspect_command(argc + 1, words.data());
}

constexpr std::array kImageCommands{
    CommandInfo{"history", "Show how an image was made", history_command},
    CommandInfo{"import", "Make an image of a root file system", import_command},
    CommandInfo{"inspect", "Print all that is known of images", inspect_image},
    CommandInfo{"load", "Load images from an archive or an OCI layout", load_command},
    CommandInfo{"ls", "List images", images_command},
    CommandInfo{"pull", "Get an image from a registry", pull_command},
    CommandInfo{"push", "Send an image to a registry", push_command},
    CommandInfo{"rm", "Remove images", rmi_command},
    CommandInfo{"save", "Write images to an archive", save_command},
    CommandInfo{"tag", "Give an image another name", tag_command},
};

std::string usage() {
    std::string text = "Usage:  drupe image COMMAND [OPTIONS]\n\nCommands:\n";
    for (const CommandInfo& command : kImageCommands) {
        text += fmt::format("  {:<9} {}\n", command.name, command.summary);
    }
    return text;
}

}  // namespace

int image_command(int argc, char** argv) {
    const std::string_view name = argc > 1 ? argv[1] : "--help";
    if (name == "--help" || name == "-h") return print(usage());
    const auto* const found =
        std::find_if(kImageCommands.begin(), kImageCommands.end(),
                     [&](const CommandInfo& command) { return name == command.name; });
    if (found != kImageCommands.end()) return found->run(argc - 1, argv + 1);
    return fail({ErrorCode::kInvalid,
                 fmt::format("there is no command 'image {}': see 'drupe image --help'", name)},
                kUsageError);
}

}  // namespace drupe::cli
