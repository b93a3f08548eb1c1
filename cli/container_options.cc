#include "cli/container_options.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <array>
#include <cctype>
#include <climits>
#include <cstdlib>

#include "api/engine/log_options.h"
#include "api/engine/time_text.h"
#include "api/engine/units.h"
#include "base/fd.h"
#include "cli/text.h"

namespace drupe::cli {
namespace {

constexpr size_t kMaxEnvFileBytes = 1 << 20;

}  // namespace

void ContainerOptions::declare(Args& args) {
    args.flag("-i,--interactive", interactive_, "Keep standard input open, and connected");
    args.flag("-t,--tty", tty_, "Give it a terminal");
    args.value("--name", "NAME", name_, "Its name (default: one is made up)");
    args.flag("--rm", remove_, "Remove it when it ends");
    args.values("-e,--env", "NAME=VALUE", env_, "Set a variable; NAME alone passes yours on");
    args.values("--env-file", "FILE", env_files_, "Read variables from a file");
    args.value("-w,--workdir", "PATH", working_dir_, "Working directory");
    args.value("-u,--user", "USER", user_, "User or uid, and group: NAME[:GROUP]");
    args.value("--entrypoint", "PROGRAM", entrypoint_, "Instead of the image's; \"\" is none");
    args.value("-h,--hostname", "NAME", host_name_, "Host name (default: the short id)");
    args.value("--domainname", "NAME", domain_name_, "Domain name");
    args.values("-l,--label", "NAME=VALUE", labels_, "Set a label");
    args.value("-m,--memory", "SIZE", memory_,
               "Memory limit, as in 512m; its machine gets the next size up (default: none, in "
               "512 MiB)");
    args.value("--cpus", "NUMBER", cpus_,
               "CPU limit, as in 1.5; rounded up it is the number of vCPUs (default: one vCPU)");
    args.values("--ulimit", "NAME=SOFT[:HARD]", ulimits_, "Set a resource limit");
    args.values(
        "--storage-opt", "size=SIZE", storage_options_,
        "What it may write beyond its image, as in size=10G (default: what its disk holds)");
    args.flag("--read-only", read_only_, "Its root file system can't be written");
    declare_guest(args);
    declare_health(args);
    args.value("--restart", "POLICY", restart_,
               "When it ends: no (default), always, unless-stopped or on-failure[:NUMBER]");
    args.value("--network", "NAME", network_,
               "none, or a network's name; no network carries packets yet");
    args.value("--stop-signal", "SIGNAL", stop_signal_, "What stop sends (default: the image's)");
    args.value("--stop-timeout", "SECONDS", stop_timeout_s_, "When stop kills it (default 10)");
    args.value("--kernel", "FILE", kernel_, "A Linux kernel of your own: vmlinux or bzImage");
    args.value("--kernel-args", "ARGS", kernel_args_,
               "More of the kernel's command line, as in \"mitigations=off\"");
    args.flag("--console", console_, "Show the kernel's log on standard error");
    args.flag("--timing", timing_, "Print where the time went, on standard error");
    args.value("--boot", "HOW", boot_,
               "How its machine starts: from a template (default), or cold: with a\n"
               "kernel of its own from the first instruction on");
    args.value("--from-snapshot", "CONTAINER:NAME", from_snapshot_,
               "Go on from a snapshot of another container (see drupe snapshot), in\n"
               "the place of an image and a command");
    args.value("--cidfile", "FILE", id_file_, "Write its id to a file");
    args.value("--pull", "WHEN", pull_,
               "Get the image from its registry: missing (default), always or never");
    args.flag("-q,--quiet", quiet_, "Don't show how it is pulled");
    args.value("--platform", "OS/ARCH", platform_, "linux/amd64, which is what runs here");
    args.operands(operands_, 1, SIZE_MAX, Args::Options::kInFront);
    args.instead_of_operands(from_snapshot_);
    args.unsupported(unsupported_options());
}

void ContainerOptions::declare_guest(Args& args) {
    args.value("--pids-limit", "NUMBER", pids_limit_, "Limit of its processes (default: none)");
    args.value("--shm-size", "SIZE", shm_size_, "Size of /dev/shm (default 64m)");
    args.values("--tmpfs", "PATH[:OPTIONS]", tmpfs_,
                "Mount a tmpfs, as in /run:size=64m,mode=755,exec");
    args.values("--sysctl", "NAME=VALUE", sysctls_, "Set a parameter of its kernel");
    args.values("--cap-add", "NAME", cap_add_, "Add a capability, or ALL");
    args.values("--cap-drop", "NAME", cap_drop_, "Take a capability away, or ALL");
    args.flag("--privileged", privileged_, "Give it all capabilities, in its machine");
    args.values("--group-add", "GROUP", groups_, "A further group of its user");
    args.flag("--init", init_, "Have an init reap processes and forward signals");
    args.values("--dns", "ADDRESS", dns_, "A name server");
    args.values("--dns-option,--dns-opt", "OPTION", dns_options_, "An option of its resolver");
    args.values("--dns-search", "DOMAIN", dns_search_, "A domain to look names up in");
    args.values("--add-host", "NAME:ADDRESS", extra_hosts_, "A line of its /etc/hosts");
    args.value("--log-driver", "NAME", log_driver_, "json-file (default), local or none");
    args.values("--log-opt", "NAME=VALUE", log_options_, "max-size=SIZE or max-file=NUMBER");
}

void ContainerOptions::declare_health(Args& args) {
    args.value("--health-cmd", "COMMAND", health_command_, "What tells whether it is well");
    args.value("--health-interval", "TIME", health_interval_, "Between two checks (default 30s)");
    args.value("--health-timeout", "TIME", health_timeout_, "For one check (default 30s)");
    args.value("--health-retries", "NUMBER", health_retries_, "Failures until it is unwell (3)");
    args.value("--health-start-period", "TIME", health_start_period_,
               "Failures don't count so long after the start");
    args.value("--health-start-interval", "TIME", health_start_interval_,
               "Between two checks in that time (default 5s)");
    args.flag("--no-healthcheck", no_health_check_, "None, whatever the image says");
}

Status ContainerOptions::build_health(engine::ContainerConfig& config) const {
    engine::HealthCheck check;
    const auto read = [](const std::string& text, const char* option, uint64_t& out) -> Status {
        if (text.empty()) return ok();
        const auto duration = engine::parse_duration(text);
        if (!duration) {
            return Error{ErrorCode::kInvalid,
                         fmt::format("{} {}: write 30s, 1m30s or 500ms", option, text)};
        }
        out = *duration;
        return ok();
    };
    TRY(read(health_interval_, "--health-interval", check.interval_ns));
    TRY(read(health_timeout_, "--health-timeout", check.timeout_ns));
    TRY(read(health_start_period_, "--health-start-period", check.start_period_ns));
    TRY(read(health_start_interval_, "--health-start-interval", check.start_interval_ns));
    check.retries = health_retries_.value_or(0);
    const bool says_anything = health_command_ || !health_interval_.empty() ||
                               !health_timeout_.empty() || !health_start_period_.empty() ||
                               !health_start_interval_.empty() || health_retries_;
    if (no_health_check_ && says_anything) {
        return Error{ErrorCode::kInvalid, "--no-healthcheck conflicts with --health-* options"};
    }
    if (no_health_check_) check.test = {"NONE"};
    if (health_command_) check.test = {"CMD-SHELL", *health_command_};
    if (says_anything || no_health_check_) config.health = std::move(check);
    return ok();
}

Status ContainerOptions::build_guest(engine::ContainerConfig& config) {
    const auto split = [](const std::string& text, char by) {
        const size_t at = text.find(by);
        return std::pair(text.substr(0, at),
                         at == std::string::npos ? std::string() : text.substr(at + 1));
    };
    if (shm_size_) {
        TRY_ASSIGN(config.shm_bytes, engine::parse_bytes(*shm_size_));
    }
    config.pids_limit = pids_limit_.value_or(0);
    for (const std::string& text : tmpfs_) config.tmpfs.insert(split(text, ':'));
    for (const std::string& text : sysctls_) {
        if (text.find('=') == std::string::npos) {
            return Error{ErrorCode::kInvalid, fmt::format("--sysctl {}: write NAME=VALUE", text)};
        }
        config.sysctls.insert(split(text, '='));
    }
    std::map<std::string, std::string> log_options;
    for (const std::string& text : log_options_) log_options.insert(split(text, '='));
    TRY_ASSIGN(config.log, engine::parse_log_options(log_driver_, log_options));
    config.cap_add = cap_add_;
    config.cap_drop = cap_drop_;
    config.privileged = privileged_;
    config.groups = groups_;
    config.init = init_;
    config.dns = dns_;
    config.dns_options = dns_options_;
    config.dns_search = dns_search_;
    config.extra_hosts = extra_hosts_;
    return ok();
}

Result<engine::ContainerConfig> ContainerOptions::build() {
    TRY(check_pull_policy(pull_));
    TRY(check_platform(platform_));
    engine::ContainerConfig config;
    if (!restart_.empty()) {
        TRY_ASSIGN(config.restart, parse_restart(restart_));
    }
    if (!network_.empty()) config.network_mode = network_;
    TRY(build_health(config));
    config.from_checkpoint = from_snapshot_;
    if (!operands_.empty()) config.image = operands_.front();
    if (operands_.size() > 1) config.cmd.emplace(operands_.begin() + 1, operands_.end());
    if (entrypoint_) config.entrypoint = std::vector<std::string>{*entrypoint_};
    for (const std::string& file : env_files_) {
        TRY_ASSIGN(auto variables, read_env_file(file));
        config.env.insert(config.env.end(), variables.begin(), variables.end());
    }
    for (const std::string& variable : env_) {
        TRY(add_variable(variable, config.env));
    }
    for (const std::string& label : labels_) {
        const size_t equals = label.find('=');
        if (label.empty() || equals == 0) {
            return Error{ErrorCode::kInvalid, fmt::format("invalid label '{}': empty name", label)};
        }
        config.labels[label.substr(0, equals)] =
            equals == std::string::npos ? "" : label.substr(equals + 1);
    }
    for (const std::string& text : ulimits_) {
        TRY_ASSIGN(auto limit, engine::parse_ulimit(text));
        config.ulimits.push_back(std::move(limit));
    }
    if (memory_) {
        TRY_ASSIGN(config.memory_bytes, engine::parse_bytes(*memory_));
    }
    TRY_ASSIGN(config.storage_bytes, parse_storage_options(storage_options_));
    if (cpus_) {
        TRY_ASSIGN(config.nano_cpus, parse_cpus(*cpus_));
    }
    config.boot = boot_;
    if (!kernel_.empty()) {
        std::array<char, PATH_MAX> path{};
        if (::realpath(kernel_.c_str(), path.data()) == nullptr) {
            return os_error("--kernel " + kernel_);
        }
        config.kernel = path.data();
    }
    TRY(build_guest(config));
    config.kernel_args = kernel_args_;
    config.working_dir = working_dir_;
    config.user = user_;
    config.host_name = host_name_;
    config.domain_name = domain_name_;
    config.stop_signal = stop_signal_;
    config.stop_timeout_s = stop_timeout_s_;
    config.tty = tty_;
    config.open_stdin = interactive_;
    config.read_only = read_only_;
    config.auto_remove = remove_;
    config.console = console_;
    config.timing = timing_;
    return config;
}

Result<uint64_t> parse_storage_options(const std::vector<std::string>& options) {
    uint64_t bytes = 0;
    for (const std::string& option : options) {
        const size_t equals = option.find('=');
        std::string name = option.substr(0, equals);
        for (char& c : name) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
        if (equals == std::string::npos || name != "size") {
            return Error{ErrorCode::kInvalid,
                         fmt::format("--storage-opt {}: there is only size=SIZE", option)};
        }
        TRY_ASSIGN(bytes, engine::parse_bytes(std::string_view(option).substr(equals + 1)));
        if (bytes < engine::kMinStorageBytes) {
            return Error{ErrorCode::kInvalid,
                         fmt::format("--storage-opt {}: the smallest is size=1m", option)};
        }
    }
    return bytes;
}

Status check_pull_policy(const std::string& policy) {
    if (policy == "missing" || policy == "always" || policy == "never") return ok();
    return Error{ErrorCode::kInvalid,
                 fmt::format("--pull {}: there are missing, always and never", policy)};
}

Status check_platform(const std::string& platform) {
    if (platform.empty() || platform == "linux/amd64" || platform == "linux" ||
        platform == "linux/x86_64" || platform == "amd64") {
        return ok();
    }
    return Error{ErrorCode::kUnsupported,
                 fmt::format("--platform {}: this host runs linux/amd64", platform)};
}

Status ContainerOptions::check_id_file() const {
    if (id_file_.empty()) return ok();
    if (::access(id_file_.c_str(), F_OK) != 0) {
        const size_t slash = id_file_.rfind('/');
        const std::string folder = slash == std::string::npos ? "." : id_file_.substr(0, slash + 1);
        if (::access(folder.c_str(), W_OK | X_OK) != 0) return os_error("--cidfile " + id_file_);
        return ok();
    }
    return Error{ErrorCode::kConflict,
                 fmt::format("the --cidfile {} is there already: remove it if its container isn't "
                             "needed any more",
                             id_file_)};
}

Status ContainerOptions::write_id_file(const std::string& id) const {
    if (id_file_.empty()) return ok();
    TRY_ASSIGN(const Fd file, open_file(id_file_, O_WRONLY | O_CREAT | O_EXCL, 0644));
    return write_all(file.get(), std::as_bytes(std::span(id)));
}

Status add_variable(const std::string& text, std::vector<std::string>& out) {
    if (text.empty() || text.front() == '=') {
        return Error{ErrorCode::kInvalid, "invalid environment variable: " + text};
    }
    if (text.find('=') != std::string::npos) {
        out.push_back(text);
    } else if (const char* value = ::getenv(text.c_str())) {
        out.push_back(text + "=" + value);
    }
    return ok();
}

Result<std::vector<std::string>> read_env_file(const std::string& path) {
    auto text = read_file(path, kMaxEnvFileBytes);
    if (!text) return std::move(text).error().wrap("--env-file");
    std::vector<std::string> variables;
    std::string_view rest = text.value();
    size_t number = 0;
    while (!rest.empty()) {
        const size_t end = rest.find('\n');
        std::string_view line = rest.substr(0, end);
        rest = end == std::string_view::npos ? "" : rest.substr(end + 1);
        ++number;
        while (!line.empty() && (line.front() == ' ' || line.front() == '\t'))
            line.remove_prefix(1);
        if (!line.empty() && line.back() == '\r') line.remove_suffix(1);
        if (line.empty() || line.front() == '#') continue;
        const std::string_view name = line.substr(0, line.find('='));
        if (name.empty() || name.find_first_of(" \t") != std::string_view::npos) {
            return Error{ErrorCode::kInvalid,
                         fmt::format("--env-file {}: line {} has no name, or white space in it",
                                     path, number)};
        }
        TRY(add_variable(std::string(line), variables));
    }
    return variables;
}

}  // namespace drupe::cli
