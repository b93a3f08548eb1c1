// drupe man-pages FOLDER: what --help says, as manual pages. The build calls it.

#include <fcntl.h>
#include <fmt/format.h>

#include "base/fd.h"
#include "cli/command.h"
#include "cli/text.h"

namespace drupe::cli {
namespace {

Status write_page(const std::string& path, const std::string& text) {
    TRY_ASSIGN(const Fd file, open_file(path, O_WRONLY | O_CREAT | O_TRUNC, 0644));
    return write_all(file.get(), std::as_bytes(std::span(text)));
}

/// drupe(1): what commands there are.
std::string main_page() {
    std::string text =
        ".TH DRUPE 1 \"\" \"drupe " DRUPE_VERSION
        "\" \"Drupe\"\n.SH NAME\ndrupe \\- microVMs that feel like containers\n.SH SYNOPSIS\n"
        ".B drupe\n[\\-H unix://PATH] COMMAND [OPTIONS]\n.SH DESCRIPTION\n"
        "Each container has a Linux kernel of its own, on KVM. The daemon\n.BR druped (8)\n"
        "does the work, and is started if it doesn't run.\n.SH COMMANDS\n";
    for (const CommandInfo& command : all_commands()) {
        text +=
            fmt::format(".TP\n.BR drupe\\-{} (1)\n{}\n", roff(command.name), roff(command.summary));
    }
    return text +
           ".SH ENVIRONMENT\n.TP\nDRUPE_HOST\nThe daemon's socket, as \\-H says it; by default\n"
           "/run/drupe/drupe.sock, or run/drupe.sock below $DRUPE_ROOT. A daemon that is named "
           "isn't\n"
           "started.\n.TP\nDRUPE_ROOT\nWhere images and containers are; by default\n"
           "/var/lib/drupe.\n.SH EXIT STATUS\nAs Docker's: the workload's own, 128 and the number "
           "of "
           "a signal, 125 if Drupe\nfailed, 126 and 127 for a program that can't be executed or "
           "isn't "
           "there.\n.SH SEE ALSO\n.BR druped (8)\n";
}

/// A group's: its commands.
std::string group_page(const CommandInfo& info, std::span<const CommandInfo> group) {
    std::string text = fmt::format(
        ".TH DRUPE\\-{0} 1 \"\" \"drupe " DRUPE_VERSION
        "\" \"Drupe\"\n.SH NAME\ndrupe\\-{0} \\- {1}\n.SH SYNOPSIS\n.B drupe {0}\nCOMMAND\n"
        ".SH COMMANDS\n",
        roff(info.name), roff(info.summary));
    for (const CommandInfo& command : group) {
        text += fmt::format(".SS {}\n{}\n", roff(command.name),
                            describe_args(command, ArgsPurpose::kManSection));
    }
    return text;
}

Status write_pages(const std::string& folder) {
    TRY(write_page(folder + "/drupe.1", main_page()));
    for (const CommandInfo& command : all_commands()) {
        const auto group = group_of(command.name);
        const std::string text = group.empty() ? describe_args(command, ArgsPurpose::kManPage)
                                               : group_page(command, group);
        TRY(write_page(fmt::format("{}/drupe-{}.1", folder, command.name), text));
    }
    return ok();
}

}  // namespace

int man_pages_command(int argc, char** argv) {
    if (argc != 2) return kUsageError;
    const auto written = write_pages(argv[1]);
    return written ? 0 : fail(written.error());
}

}  // namespace drupe::cli
