// drupe completion: scripts for shells, which ask the command itself what may come next.

#include "cli/completion.h"

#include <algorithm>
#include <array>
#include <string_view>

#include "base/json_reader.h"
#include "cli/command.h"
#include "cli/daemon.h"

namespace drupe::cli {
namespace {

constexpr std::string_view kBash = R"SCRIPT(# bash completion for drupe
_drupe() {
  local word=${COMP_WORDS[COMP_CWORD]}
  COMPREPLY=($(compgen -W "$("${COMP_WORDS[0]}" __complete "${COMP_WORDS[@]:1:COMP_CWORD}" 2> /dev/null)" -- "$word"))
  # Where drupe knows nothing, it is a file's name.
  [ ${#COMPREPLY[@]} -ne 0 ] || compopt -o default
}
complete -F _drupe drupe
)SCRIPT";
constexpr std::string_view kZsh = R"SCRIPT(#compdef drupe
_drupe() {
  local -a found
  found=(${(f)"$(${words[1]} __complete ${words[2,CURRENT]} 2> /dev/null)"})
  if (( ${#found} )); then compadd -a found; else _files; fi
}
compdef _drupe drupe
)SCRIPT";
constexpr std::string_view kFish = R"SCRIPT(# fish completion for drupe
function __drupe_complete
    set -l words (commandline -opc) (commandline -ct)
    $words[1] __complete $words[2..-1] 2> /dev/null
end
complete -c drupe -a '(__drupe_complete)'
)SCRIPT";

constexpr std::array kOfContainers{"attach", "commit",  "cp",      "diff",     "exec",  "export",
                                   "fork",   "inspect", "kill",    "logs",     "pause", "port",
                                   "rename", "restart", "rm",      "rollback", "start", "stats",
                                   "stop",   "top",     "unpause", "update",   "wait"};
constexpr std::array kOfImages{"create", "history", "push", "rmi", "run", "save", "tag"};

template <size_t N>
bool is_one_of(const std::array<const char*, N>& list, std::string_view word) {
    return std::find(list.begin(), list.end(), word) != list.end();
}

/// Names of containers, those that don't run too.
std::string container_names() {
    const auto list = ask_running(make_request("GET", "/containers/json", {{"all", "1"}}));
    std::string text;
    for (const auto& item : list ? list.value() : nlohmann::json::array()) {
        std::vector<std::string> names;
        JsonReader in(item);
        in.get_list("Names", names, 64);
        if (in.status() && !names.empty()) text += names.front().substr(1) + "\n";
    }
    return text;
}

std::string image_names() {
    const auto list = ask_running(make_request("GET", "/images/json"));
    std::string text;
    for (const auto& item : list ? list.value() : nlohmann::json::array()) {
        std::vector<std::string> names;
        JsonReader in(item);
        in.get_list("RepoTags", names, 10'000);
        if (!in.status()) continue;
        for (const std::string& name : names) text += name + "\n";
    }
    return text;
}

/// Names of commands, or of a group's.
std::string names_of(std::span<const CommandInfo> commands) {
    std::string text;
    for (const CommandInfo& command : commands) text += std::string(command.name) + "\n";
    return text;
}

std::string operands_of(std::string_view group, std::string_view command) {
    const bool of_images = group == "image" || (group.empty() && is_one_of(kOfImages, command));
    if (of_images) return image_names();
    if (is_one_of(kOfContainers, command)) return container_names();
    return command == "completion" ? "bash\nzsh\nfish\n" : "";
}

}  // namespace

std::string candidates(const std::vector<std::string>& words) {
    size_t at = 0;
    if (words.size() > 2 && (words[0] == "-H" || words[0] == "--host")) {
        ::setenv("DRUPE_HOST", words[1].c_str(), 1);
        at = 2;
    }
    if (at + 1 >= words.size()) return names_of(all_commands());
    const CommandInfo* command = find_command(all_commands(), words[at]);
    if (command == nullptr) return "";
    const auto group = group_of(command->name);
    if (!group.empty()) {
        if (at + 2 >= words.size()) return names_of(group);
        command = find_command(group, words[at + 1]);
        if (command == nullptr) return "";
    }
    if (words.back().starts_with('-')) return describe_args(*command, ArgsPurpose::kOptions);
    return operands_of(group.empty() ? "" : words[at], command->name);
}

int complete_command(int argc, char** argv) {
    return print(candidates({argv + 1, argv + argc}));
}

int completion_command(int argc, char** argv) {
    std::vector<std::string> shells;
    Args args("completion", "bash|zsh|fish",
              "Print the script by which a shell completes drupe's commands.");
    args.operands(shells, 1, 1);
    args.example("source <(drupe completion bash)", "in this shell");
    if (const auto code = args.parse(argc, argv)) return *code;
    if (shells.front() == "bash") return print(kBash);
    if (shells.front() == "zsh") return print(kZsh);
    if (shells.front() == "fish") return print(kFish);
    return fail({ErrorCode::kInvalid, "there are scripts for bash, zsh and fish"});
}

}  // namespace drupe::cli
