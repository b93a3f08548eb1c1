#include "cli/args.h"

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <algorithm>
#include <cstdio>
#include <string_view>
#include <variant>

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

namespace {

/// An option as it was declared.
struct Declared {
    using Target = std::variant<bool*, std::string*, std::optional<std::string>*,
                                std::optional<uint32_t>*, std::vector<std::string>*>;
    std::string names;
    std::string what;
    Target target;
    std::string help;
};

struct Adder {
    CLI::App& app;
    const Declared& option;

    void operator()(bool* target) const { app.add_flag(option.names, *target, option.help); }
    void operator()(std::string* target) const {
        app.add_option(option.names, *target, option.help)->type_name(option.what);
    }
    template <typename Value>
    void operator()(std::optional<Value>* target) const {
        app.add_option_function<Value>(
               option.names, [target](const Value& value) { *target = value; }, option.help)
            ->type_name(option.what);
    }
    void operator()(std::vector<std::string>* target) const {
        app.add_option(option.names, *target, option.help)
            ->type_name(option.what)
            ->allow_extra_args(false);
    }
};

/// Whether the word may give one of the names: more often true than it does.
bool may_give(std::string_view word, std::string_view names) {
    if (!word.starts_with('-')) return false;
    for (size_t begin = 0; begin < names.size();) {
        const std::string_view name = names.substr(begin, names.find(',', begin) - begin);
        if (name.starts_with("--") ? word.starts_with(name)
                                   : word.find(name[1], 1) != std::string_view::npos) {
            return true;
        }
        begin += name.size() + 1;
    }
    return false;
}

}  // namespace

struct Args::Impl {
    CLI::App app;
    std::vector<Declared> declared;
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
    void declare(std::span<char* const> words);
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
    impl_->declared.push_back({names, "", &target, help});
}
void Args::value(const std::string& names, const std::string& what, std::string& target,
                 const std::string& help) {
    impl_->declared.push_back({names, what, &target, help});
}
void Args::value(const std::string& names, const std::string& what,
                 std::optional<std::string>& target, const std::string& help) {
    impl_->declared.push_back({names, what, &target, help});
}
void Args::value(const std::string& names, const std::string& what, std::optional<uint32_t>& target,
                 const std::string& help) {
    impl_->declared.push_back({names, what, &target, help});
}
void Args::values(const std::string& names, const std::string& what,
                  std::vector<std::string>& target, const std::string& help) {
    impl_->declared.push_back({names, what, &target, help});
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

/// Tells CLI11 of the options that the words may give, and of all if they ask for help: to add one
/// takes it as long as there are others already, a hundred of them a millisecond.
void Args::Impl::declare(std::span<char* const> words) {
    const bool all = purpose_now != ArgsPurpose::kParse ||
                     std::ranges::any_of(
                         words, [](std::string_view word) { return word.starts_with("--help"); });
    for (const Declared& option : declared) {
        const auto gives = [&](const char* word) { return may_give(word, option.names); };
        if (all || std::ranges::any_of(words, gives)) std::visit(Adder{app, option}, option.target);
    }
}

std::optional<int> Args::parse(int argc, char** argv) {
    impl_->declare(std::span(argv, static_cast<size_t>(argc)));
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
