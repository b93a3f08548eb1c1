#include "cli/args.h"

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <algorithm>
#include <cstdio>

#include "base/check.h"
#include "cli/text.h"

namespace drupe::cli {

namespace {

ArgsPurpose purpose_now = ArgsPurpose::kParse;
std::string* said_now = nullptr;

}  // namespace

void set_args_purpose(ArgsPurpose purpose, std::string* said) {
    purpose_now = purpose;
    said_now = said;
}

struct Args::Impl {
    CLI::App app;
    std::string name;
    std::string usage;
    std::string examples;
    std::vector<std::string>* operands = nullptr;
    size_t least = 0;
    size_t most = 0;
    bool in_front = false;
    const std::string* instead = nullptr;
    std::span<const Unsupported> unsupported;

    /// As Docker's: a flag that isn't there or can't be read.
    int complain(const std::string& message) const {
        std::fprintf(stderr, "%s\n\nUsage:  %s\n\nRun 'drupe %s --help' for more information\n",
                     message.c_str(), usage.c_str(), name.c_str());
        return kUsageError;
    }
    /// Too many or too few of what is no flag.
    int complain_of_count(const std::string& what) const {
        static_cast<void>(complain("drupe: 'drupe " + name + "' " + what));
        return kFailure;
    }
    /// One that wasn't declared.
    int refuse_flag(const std::string& text) const;
    std::optional<int> take_operands();
    std::string help() const;
    std::vector<std::pair<std::string, std::string>> options() const;
    void describe() const;
};

/// "-n, --name NAME" of each, and what it does.
std::vector<std::pair<std::string, std::string>> Args::Impl::options() const {
    std::vector<std::pair<std::string, std::string>> lines;
    for (const CLI::Option* option : app.get_options()) {
        if (!option->nonpositional()) continue;
        const auto& shorts = option->get_snames();
        const auto& longs = option->get_lnames();
        std::string names =
            shorts.empty() ? "    " : "-" + shorts.front() + (longs.empty() ? "" : ", ");
        if (!longs.empty()) names += "--" + longs.front();
        if (option->get_type_size() != 0) names += " " + option->get_type_name();
        lines.emplace_back(std::move(names), option->get_description());
    }
    std::sort(lines.begin(), lines.end(), [](const auto& a, const auto& b) {
        return a.first.substr(a.first.find("--")) < b.first.substr(b.first.find("--"));
    });
    return lines;
}

void Args::Impl::describe() const {
    std::string& out = *said_now;
    if (purpose_now == ArgsPurpose::kOptions) {
        for (const CLI::Option* option : app.get_options()) {
            if (!option->nonpositional()) continue;
            for (const std::string& option_name : option->get_lnames())
                out += "--" + option_name + "\n";
            for (const std::string& option_name : option->get_snames())
                out += "-" + option_name + "\n";
        }
        return;
    }
    if (purpose_now == ArgsPurpose::kManPage) {
        out += ".TH DRUPE\\-" + roff(name) +
               " 1 \"\" \"drupe " DRUPE_VERSION "\" \"Drupe\"\n.SH NAME\ndrupe\\-" + roff(name) +
               " \\- " + roff(app.get_description()) + "\n.SH SYNOPSIS\n" + roff(usage) +
               "\n.SH OPTIONS\n";
    } else {
        out += roff(usage) + "\n.PP\n" + roff(app.get_description()) + "\n";
    }
    for (const auto& [names, what] : options()) {
        out += ".TP\n.B " + roff(names.substr(names.find_first_not_of(' '))) + "\n" + roff(what) +
               "\n";
    }
    if (!examples.empty()) {
        out += (purpose_now == ArgsPurpose::kManPage ? ".SH EXAMPLES\n.nf\n" : ".PP\n.nf\n") +
               roff(examples) + ".fi\n";
    }
}

/// As Docker's: usage, summary, options, then examples.
std::string Args::Impl::help() const {
    const auto lines = options();
    size_t widest = 0;
    for (const auto& [names, what] : lines) widest = std::max(widest, names.size());
    std::string text = "Usage:  " + usage + "\n\n" + app.get_description() + "\n\nOptions:\n";
    for (const auto& [names, what] : lines) {
        text += "  ";
        text += names;
        text.append(widest - names.size() + 3, ' ');
        text += what;
        text += '\n';
    }
    if (!examples.empty()) text += "\nExamples:\n" + examples;
    return text;
}

Args::Args(std::string name, const std::string& operands, std::string summary)
    : impl_(std::make_unique<Impl>()) {
    impl_->name = std::move(name);
    impl_->usage = "drupe " + impl_->name + " [OPTIONS]" + (operands.empty() ? "" : " ") + operands;
    impl_->app.description(std::move(summary));
    impl_->app.set_help_flag("--help", "Print this");
}
Args::~Args() = default;

void Args::flag(const std::string& names, bool& target, const std::string& help) {
    impl_->app.add_flag(names, target, help);
}
void Args::value(const std::string& names, const std::string& what, std::string& target,
                 const std::string& help) {
    impl_->app.add_option(names, target, help)->type_name(what);
}
void Args::value(const std::string& names, const std::string& what,
                 std::optional<std::string>& target, const std::string& help) {
    impl_->app
        .add_option_function<std::string>(
            names, [&target](const std::string& text) { target = text; }, help)
        ->type_name(what);
}
void Args::value(const std::string& names, const std::string& what, std::optional<uint32_t>& target,
                 const std::string& help) {
    impl_->app
        .add_option_function<uint32_t>(
            names, [&target](const uint32_t& number) { target = number; }, help)
        ->type_name(what);
}
void Args::values(const std::string& names, const std::string& what,
                  std::vector<std::string>& target, const std::string& help) {
    impl_->app.add_option(names, target, help)->type_name(what)->allow_extra_args(false);
}

void Args::operands(std::vector<std::string>& target, size_t least, size_t most, Options options) {
    impl_->operands = &target;
    impl_->least = least;
    impl_->most = most;
    impl_->in_front = options == Options::kInFront;
    if (impl_->in_front) {
        impl_->app.prefix_command();
    } else {
        // In no group, so that the help doesn't list it: the usage line does.
        impl_->app.add_option("operands", target)->group("");
    }
}

void Args::instead_of_operands(const std::string& target) {
    impl_->instead = &target;
}

void Args::example(const std::string& command, const std::string& what) {
    impl_->examples += "  # " + what + "\n  " + command + "\n";
}

int Args::Impl::refuse_flag(const std::string& text) const {
    const bool is_long = text.starts_with("--");
    const std::string flag = text.substr(0, text.find('='));
    if (const auto* found = find_unsupported(unsupported, is_long ? flag : text.substr(0, 2))) {
        std::fprintf(stderr, "drupe: option %s is not supported: %s\n",
                     std::string(found->names).c_str(), std::string(found->why).c_str());
        return kUsageError;
    }
    return complain((is_long ? "unknown flag: " : "unknown shorthand flag: ") + flag);
}

std::optional<int> Args::Impl::take_operands() {
    std::vector<std::string> rest = app.remaining();
    if (in_front && !rest.empty() && rest.front() == "--") {
        rest.erase(rest.begin());
    } else if (!rest.empty() && rest.front().size() > 1 && rest.front().front() == '-') {
        return refuse_flag(rest.front());
    }
    if (operands == nullptr) {
        return rest.empty() ? std::nullopt
                            : std::optional(complain_of_count("accepts no arguments"));
    }
    if (in_front) *operands = std::move(rest);
    const size_t count = operands->size();
    const bool enough = count >= least || (instead != nullptr && !instead->empty());
    if (enough && count <= most) return std::nullopt;
    const size_t bound = count < least ? least : most;
    const char* const how = least == most ? "" : count < least ? "at least " : "at most ";
    return complain_of_count("requires " + std::string(how) + std::to_string(bound) +
                             (bound == 1 ? " argument" : " arguments"));
}

void Args::unsupported(std::span<const Unsupported> options) {
    impl_->unsupported = options;
}

std::optional<int> Args::parse(int argc, char** argv) {
    if (purpose_now != ArgsPurpose::kParse) {
        impl_->describe();
        return 0;
    }
    // CLI11 throws; nothing of it leaves this function.
    impl_->app.allow_extras();
    try {
        impl_->app.parse(argc, argv);
    } catch (const CLI::CallForHelp&) {
        const std::string help = impl_->help();
        std::fputs(help.c_str(), stdout);
        return std::fflush(stdout) == 0 ? 0 : kFailure;
    } catch (const CLI::ParseError& error) {
        return impl_->complain(error.what());
    }
    return impl_->take_operands();
}

}  // namespace drupe::cli
