#include "api/engine/container.h"

#include <fmt/format.h>
#include <sys/resource.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <csignal>
#include <utility>

#include "api/engine/guest_options.h"

namespace drupe::engine {
namespace {

constexpr uint64_t kMinMemoryBytes = 6 << 20;  // Docker's least
constexpr uint64_t kMaxMemoryBytes = 1ull << 40;
constexpr uint64_t kMaxStorageBytes = 1ull << 50;
constexpr uint64_t kMaxNanoCpus = 32ull * 1'000'000'000;
constexpr size_t kMaxTextBytes = 512 << 10;  // of all strings that travel in one order
constexpr size_t kMaxHostNameBytes = 63;
constexpr size_t kMaxKernelArgsBytes = 1024;  // of the 2,048 that Linux takes

Error invalid(std::string message) {
    return Error{ErrorCode::kInvalid, std::move(message)};
}

std::string_view name_of(std::string_view variable) {
    return variable.substr(0, variable.find('='));
}

/// The image's variables with the user's over them, in the image's order.
std::vector<std::string> merge_env(std::vector<std::string> image,
                                   const std::vector<std::string>& user) {
    for (const std::string& variable : user) {
        const auto same = [&](const std::string& other) {
            return name_of(other) == name_of(variable);
        };
        const auto found = std::find_if(image.begin(), image.end(), same);
        if (found == image.end()) {
            image.push_back(variable);
        } else {
            *found = variable;
        }
    }
    // "NAME" alone takes the variable away.
    std::erase_if(image, [](const std::string& v) { return v.find('=') == std::string::npos; });
    return image;
}

constexpr std::array<std::pair<std::string_view, uint32_t>, 31> kSignals{{
    {"HUP", SIGHUP},   {"INT", SIGINT},       {"QUIT", SIGQUIT}, {"ILL", SIGILL},
    {"TRAP", SIGTRAP}, {"ABRT", SIGABRT},     {"BUS", SIGBUS},   {"FPE", SIGFPE},
    {"KILL", SIGKILL}, {"USR1", SIGUSR1},     {"SEGV", SIGSEGV}, {"USR2", SIGUSR2},
    {"PIPE", SIGPIPE}, {"ALRM", SIGALRM},     {"TERM", SIGTERM}, {"STKFLT", SIGSTKFLT},
    {"CHLD", SIGCHLD}, {"CONT", SIGCONT},     {"STOP", SIGSTOP}, {"TSTP", SIGTSTP},
    {"TTIN", SIGTTIN}, {"TTOU", SIGTTOU},     {"URG", SIGURG},   {"XCPU", SIGXCPU},
    {"XFSZ", SIGXFSZ}, {"VTALRM", SIGVTALRM}, {"PROF", SIGPROF}, {"WINCH", SIGWINCH},
    {"IO", SIGIO},     {"PWR", SIGPWR},       {"SYS", SIGSYS},
}};
constexpr uint32_t kLowestRealtime = 34;  // as the guest's libc counts them
constexpr uint32_t kHighestSignal = 64;

constexpr std::array<std::pair<std::string_view, uint32_t>, 15> kUlimits{{
    {"core", RLIMIT_CORE},
    {"cpu", RLIMIT_CPU},
    {"data", RLIMIT_DATA},
    {"fsize", RLIMIT_FSIZE},
    {"locks", RLIMIT_LOCKS},
    {"memlock", RLIMIT_MEMLOCK},
    {"msgqueue", RLIMIT_MSGQUEUE},
    {"nice", RLIMIT_NICE},
    {"nofile", RLIMIT_NOFILE},
    {"nproc", RLIMIT_NPROC},
    {"rss", RLIMIT_RSS},
    {"rtprio", RLIMIT_RTPRIO},
    {"rttime", RLIMIT_RTTIME},
    {"sigpending", RLIMIT_SIGPENDING},
    {"stack", RLIMIT_STACK},
}};

template <class T>
std::optional<T> parse_number(std::string_view text) {
    T value{};
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
    return value;
}

/// Adds up the strings of a list; nullopt if one of them can't be an argument.
std::optional<size_t> weigh(const std::vector<std::string>& list) {
    size_t total = 0;
    for (const std::string& text : list) {
        if (text.find('\0') != std::string::npos) return std::nullopt;
        total += text.size() + 1;
    }
    return total;
}

}  // namespace

std::vector<std::string> argv_of(const ContainerConfig& config) {
    std::vector<std::string> argv = config.entrypoint.value_or(std::vector<std::string>());
    if (config.cmd) argv.insert(argv.end(), config.cmd->begin(), config.cmd->end());
    return argv;
}

Result<ContainerConfig> merge(ContainerConfig asked, const ImageConfig& image) {
    // As Docker: an empty list of words is none, and [""] means no entrypoint at all.
    const bool names_entrypoint = asked.entrypoint && !asked.entrypoint->empty();
    if (!names_entrypoint && (!asked.cmd || asked.cmd->empty())) asked.cmd = image.cmd;
    if (!asked.entrypoint) asked.entrypoint = image.entrypoint;
    if (*asked.entrypoint == std::vector<std::string>{""}) asked.entrypoint.emplace();
    if (argv_of(asked).empty()) {
        return invalid("no command: the image doesn't name one, so give one after its name");
    }
    asked.env = merge_env(image.env, asked.env);
    if (asked.working_dir.empty()) asked.working_dir = image.working_dir;
    if (asked.user.empty()) asked.user = image.user;
    if (asked.stop_signal.empty()) asked.stop_signal = image.stop_signal;
    if (!asked.health) asked.health = image.health;
    if (asked.shell.empty()) asked.shell = image.shell;
    for (const std::string& port : image.exposed_ports) {
        const auto& known = asked.exposed_ports;
        if (std::find(known.begin(), known.end(), port) == known.end()) {
            asked.exposed_ports.push_back(port);
        }
    }
    asked.labels.insert(image.labels.begin(), image.labels.end());  // keeps the user's
    return asked;
}

Status validate(const ContainerConfig& config) {
    if (config.memory_bytes != 0 &&
        (config.memory_bytes < kMinMemoryBytes || config.memory_bytes > kMaxMemoryBytes)) {
        return invalid(
            fmt::format("--memory {} is out of range: 6m to 1024g", config.memory_bytes));
    }
    if (config.storage_bytes != 0 &&
        (config.storage_bytes < kMinStorageBytes || config.storage_bytes > kMaxStorageBytes)) {
        return invalid(fmt::format("--storage-opt size={} is out of range: 1m to 1024t",
                                   config.storage_bytes));
    }
    if (config.nano_cpus > kMaxNanoCpus) return invalid("--cpus is out of range: up to 32");
    if (config.host_name.size() > kMaxHostNameBytes) {
        return invalid(fmt::format("the host name is longer than {} bytes", kMaxHostNameBytes));
    }
    for (const char c : config.host_name) {
        const bool good = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                          (c >= '0' && c <= '9') || c == '-' || c == '.' || c == '_';
        if (!good) return invalid(fmt::format("invalid host name '{}'", config.host_name));
    }
    if (!config.working_dir.empty() && config.working_dir.front() != '/') {
        return invalid(
            fmt::format("the working directory '{}' is not an absolute path", config.working_dir));
    }
    if (!config.boot.empty() && config.boot != "cold" && config.boot != "template") {
        return invalid(fmt::format("--boot {}: there are 'template' and 'cold'", config.boot));
    }
    const auto& args = config.kernel_args;
    if (args.size() > kMaxKernelArgsBytes ||
        std::any_of(args.begin(), args.end(), [](char c) { return c < ' ' || c > '~'; })) {
        return invalid(fmt::format("--kernel-args takes up to {} bytes of printable ASCII",
                                   kMaxKernelArgsBytes));
    }
    const auto argv = weigh(argv_of(config));
    const auto env = weigh(config.env);
    const auto rest = weigh({config.working_dir, config.user, config.domain_name});
    if (!argv || !env || !rest) return invalid("an argument or variable holds a NUL byte");
    if (*argv + *env + *rest > kMaxTextBytes) {
        return invalid("arguments and environment are longer than 512 KiB in all");
    }
    if (!config.stop_signal.empty()) {
        TRY(parse_signal(config.stop_signal));
    }
    for (const Ulimit& limit : config.ulimits) {
        if (!ulimit_resource(limit.name)) return invalid("unknown ulimit '" + limit.name + "'");
        if (limit.soft > limit.hard) {
            return invalid("ulimit " + limit.name + ": the soft limit is above the hard one");
        }
    }
    return validate_guest_options(config);
}

Result<uint32_t> parse_signal(std::string_view text) {
    const Error unknown = invalid(fmt::format("unknown signal '{}'", text.substr(0, 64)));
    if (const auto number = parse_number<uint32_t>(text)) {
        if (*number == 0 || *number > kHighestSignal) return unknown;
        return *number;
    }
    std::string name(text);
    for (char& c : name) {
        if (c >= 'a' && c <= 'z') c = static_cast<char>(c - 'a' + 'A');
    }
    if (name.starts_with("SIG")) name.erase(0, 3);
    for (const auto& [known, number] : kSignals) {
        if (known == name) return number;
    }
    if (name == "RTMIN") return kLowestRealtime;
    if (name == "RTMAX") return kHighestSignal;
    if (name.starts_with("RTMIN+")) {
        const auto above = parse_number<uint32_t>(std::string_view(name).substr(6));
        if (above && *above <= kHighestSignal - kLowestRealtime) return kLowestRealtime + *above;
    }
    if (name.starts_with("RTMAX-")) {
        const auto below = parse_number<uint32_t>(std::string_view(name).substr(6));
        if (below && *below <= kHighestSignal - kLowestRealtime) return kHighestSignal - *below;
    }
    return unknown;
}

std::optional<uint32_t> ulimit_resource(std::string_view name) {
    for (const auto& [known, resource] : kUlimits) {
        if (known == name) return resource;
    }
    return std::nullopt;
}

Result<Ulimit> parse_ulimit(std::string_view text) {
    const Error bad = invalid(fmt::format(
        "invalid ulimit '{}': write NAME=SOFT[:HARD], as in nofile=1024:2048", text.substr(0, 64)));
    const size_t equals = text.find('=');
    if (equals == std::string_view::npos) return bad;
    Ulimit limit;
    limit.name = text.substr(0, equals);
    if (!ulimit_resource(limit.name)) return bad;
    const auto value = [](std::string_view number) -> std::optional<uint64_t> {
        return number == "-1" ? RLIM_INFINITY : parse_number<uint64_t>(number);
    };
    const std::string_view values = text.substr(equals + 1);
    const size_t colon = values.find(':');
    const auto soft = value(values.substr(0, colon));
    const auto hard = colon == std::string_view::npos ? soft : value(values.substr(colon + 1));
    if (!soft || !hard || *soft > *hard) return bad;
    limit.soft = *soft;
    limit.hard = *hard;
    return limit;
}

}  // namespace drupe::engine
