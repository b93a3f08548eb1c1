#include "cli/command.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <iostream>

#include "cli/terminal.h"

namespace drupe::cli {

int fail(const Error& error, int code) {
    // The engine's other clients have commands of their own for it.
    const char* const advice = error.message.starts_with("No such image: ")
                                   ? ": see what there is with drupe images, and get it with drupe "
                                     "pull or drupe load -i FILE"
                                   : "";
    std::fprintf(stderr, "drupe: %s%s\n", error.message.c_str(), advice);
    return code;
}

int print(std::string_view text) {
    const bool written = std::fwrite(text.data(), 1, text.size(), stdout) == text.size();
    if (written && std::fflush(stdout) == 0) return 0;
    return fail(os_error("write to standard output"));
}

bool confirmed(std::string_view warning) {
    (void)print(fmt::format("WARNING! {}\nAre you sure you want to continue? [y/N] ", warning));
    std::string answer;
    std::getline(std::cin, answer);
    return answer == "y" || answer == "Y" || answer == "yes";
}

int for_each(const std::vector<std::string>& names,
             const std::function<Result<std::string>(const std::string&)>& work) {
    int code = 0;
    for (const std::string& name : names) {
        const auto said = work(name);
        if (said) {
            if (print(said.value() + "\n") != 0) return kFailure;
        } else {
            code = fail(said.error());
        }
    }
    return code;
}

void leave(int code) {
    restore_terminal();
    std::fflush(stdout);
    std::fflush(stderr);
    ::_exit(code);
}

const CommandInfo* find_command(std::span<const CommandInfo> commands, std::string_view name) {
    const auto found = std::find_if(commands.begin(), commands.end(),
                                    [&](const CommandInfo& c) { return name == c.name; });
    return found == commands.end() ? nullptr : &*found;
}

std::string describe_args(const CommandInfo& command, ArgsPurpose purpose) {
    std::string said;
    set_args_purpose(purpose, &said);
    std::string name = command.name;
    std::array<char*, 2> argv{name.data(), nullptr};
    static_cast<void>(command.run(1, argv.data()));
    set_args_purpose(ArgsPurpose::kParse, nullptr);
    return said;
}

int run_subcommand(std::string_view name, std::string_view summary,
                   std::span<const CommandInfo> commands, int argc, char** argv) {
    const std::string_view asked = argc < 2 ? "--help" : argv[1];
    for (const CommandInfo& command : commands) {
        if (asked == command.name) return command.run(argc - 1, argv + 1);
    }
    std::string usage = fmt::format("Usage:  drupe {} COMMAND\n\n{}\n\nCommands:\n", name, summary);
    for (const CommandInfo& command : commands) {
        usage += fmt::format("  {:<9} {}\n", command.name, command.summary);
    }
    usage += fmt::format("\nExamples:\n  drupe {} {} --help\n", name, commands.front().name);
    if (asked == "--help" || asked == "-h") return print(usage);
    return fail({ErrorCode::kInvalid,
                 fmt::format("unknown command: drupe {} {}\n\nRun 'drupe {} --help' for more "
                             "information",
                             name, asked, name)});
}

}  // namespace drupe::cli
