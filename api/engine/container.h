#pragma once

#include <sys/types.h>

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "api/engine/state.h"
#include "base/result.h"

namespace drupe::engine {

struct Ulimit {
    std::string name;  ///< As in setrlimit(2), lower case and without RLIMIT_: "nofile".
    uint64_t soft = 0;
    uint64_t hard = 0;
};

/// When a daemon starts a container again after its end.
struct RestartPolicy {
    enum class Kind : uint8_t { kNo, kOnFailure, kUnlessStopped, kAlways };
    Kind kind = Kind::kNo;
    uint32_t max_retries = 0;  ///< kOnFailure: in a row; 0: as often as it fails.
};

/// A command that a daemon runs beside the workload now and then, to see whether it does its work.
/// Times are nanoseconds; 0: Docker's default.
struct HealthCheck {
    std::vector<std::string> test;  ///< {"CMD", ARG...}, {"CMD-SHELL", TEXT} or {"NONE"}.
    uint64_t interval_ns = 0;
    uint64_t timeout_ns = 0;
    uint64_t start_period_ns = 0;
    uint64_t start_interval_ns = 0;
    uint32_t retries = 0;
};

/// What becomes of the workload's output.
struct LogOptions {
    std::string driver = "json-file";  ///< "json-file", "local" or "none".
    uint64_t max_size_bytes = 0;       ///< Of one file; 0: the engine's limit.
    uint32_t max_files = 0;            ///< 0: the engine's.
};

/// What an image says about how it wants to be run (the `config` object of OCI's image
/// specification).
struct ImageConfig {
    std::vector<std::string> entrypoint;
    std::vector<std::string> cmd;
    std::vector<std::string> env;
    std::string working_dir;
    std::string user;
    std::string stop_signal;
    std::map<std::string, std::string> labels;
    std::vector<std::string> exposed_ports;
    std::vector<std::string> volumes;
    std::optional<HealthCheck> health;
    std::vector<std::string> shell;  ///< For CMD-SHELL; empty: /bin/sh -c.
};

/// How a container runs. Before creation: what the user asked for, unset where the image decides.
/// After: the whole truth, which doesn't change any more.
struct ContainerConfig {
    std::string image;  ///< As the user named it.
    /// Unset: the image's. A set entrypoint drops the image's cmd too; {""} is none at all.
    std::optional<std::vector<std::string>> entrypoint;
    std::optional<std::vector<std::string>> cmd;
    std::vector<std::string> env;  ///< "NAME=value"; the user's win over the image's.
    std::string working_dir;
    std::string user;
    std::string host_name;  ///< Empty: the id's first 12 digits.
    std::string domain_name;
    std::map<std::string, std::string> labels;
    std::string stop_signal;                 ///< "TERM", "SIGTERM" or "15". Empty: SIGTERM.
    std::optional<uint32_t> stop_timeout_s;  ///< Unset: 10.
    std::vector<Ulimit> ulimits;
    RestartPolicy restart;
    std::optional<HealthCheck> health;  ///< Unset: the image's; {"NONE"}: none.
    std::vector<std::string> shell;  ///< Of a CMD-SHELL check; empty: the image's, or /bin/sh -c.
    LogOptions log;
    std::vector<std::string> exposed_ports;  ///< "80/tcp"; words only.
    std::vector<std::string> on_build;       ///< Of an image that is committed; words only.
    /// "none", "default", "bridge", or a network's name or id. No network carries packets yet.
    std::string network_mode = "default";
    std::vector<std::string> network_aliases;  ///< Its names there; words only.

    bool tty = false;
    bool open_stdin = false;
    bool stdin_once = false;  ///< The first client's end of input is the workload's.
    bool attach_stdin = false;
    bool attach_stdout = false;
    bool attach_stderr = false;
    bool read_only = false;    ///< The root file system; there is no writable top then.
    bool auto_remove = false;  ///< Removed when it ends.

    uint64_t memory_bytes = 0;  ///< Limit of the workload; 0: none (see machine_size()).
    /// What it may write beyond its image, at least kMinStorageBytes; 0: what its disk holds.
    uint64_t storage_bytes = 0;
    uint64_t nano_cpus = 0;   ///< 1.5 CPUs are 1500000000; 0: one vCPU, without a limit.
    uint64_t shm_bytes = 0;   ///< Of /dev/shm; 0: 64 MiB.
    uint64_t pids_limit = 0;  ///< 0: none but the guest's own.

    bool init = false;                 ///< An init of Drupe's is the workload's parent, and reaps.
    bool privileged = false;           ///< All capabilities, in the guest.
    std::vector<std::string> cap_add;  ///< As capabilities(7), with or without CAP_; "ALL".
    std::vector<std::string> cap_drop;
    std::vector<std::string> groups;             ///< Further groups of the user, names or numbers.
    std::map<std::string, std::string> tmpfs;    ///< Mount point -> options ("size=64m,mode=1777").
    std::map<std::string, std::string> sysctls;  ///< "net.core.somaxconn" -> value, in the guest.
    std::vector<std::string> dns;                ///< Of /etc/resolv.conf.
    std::vector<std::string> dns_options;
    std::vector<std::string> dns_search;
    std::vector<std::string> extra_hosts;  ///< "NAME:ADDRESS" or "NAME=ADDRESS".

    /// The saved machine (of an image, or a checkpoint) whose memory its first start goes on from,
    /// or empty.
    std::string live;
    /// "CONTAINER:NAME", as its maker named the checkpoint that its first start is to go on from,
    /// or empty.
    std::string from_checkpoint;
    /// Its limits were changed while it ran to those of a machine of another size than its own: no
    /// snapshot of it could be restored by them. Until its next start.
    bool resized = false;
    /// Of that machine; 0: the limits' own.
    uint64_t machine_ram_bytes = 0;
    std::string boot;    ///< "cold": its machine boots; empty or "template": it may not have to.
    std::string kernel;  ///< Path of a kernel of the user's own; empty: Drupe's.
    std::string kernel_args;  ///< Appended to the kernel's command line; printable ASCII.
    bool console = false;     ///< Give the machine a serial console, for its kernel's log.
    bool timing = false;      ///< Count KVM's exits at each mark.
};

/// A step that was under way when the row was last written. Whoever takes the container's lock and
/// finds one knows that the command which began it has died.
///
/// kCopying: its machine was started for its files alone (container_files.h); the rest of the row
/// is as it was before.
enum class Step : uint8_t { kNone, kCreating, kStarting, kCommitting, kCopying };

/// A container as the database has it.
struct Container {
    std::string id;        ///< 64 hex digits.
    std::string name;      ///< Unique.
    std::string image_id;  ///< "sha256:...".
    ContainerConfig config;

    State state = State::kCreated;
    Step step = Step::kNone;
    pid_t pid = 0;             ///< The monitor's while it runs; for people and statistics only.
    uint64_t pid_started = 0;  ///< Its start time in clock ticks since boot, which tells reuse.
    uint32_t uid = 0;          ///< Host user and group of its monitor; nobody else's.

    // CLOCK_REALTIME nanoseconds; 0: never.
    uint64_t created_at_ns = 0;
    uint64_t started_at_ns = 0;
    uint64_t finished_at_ns = 0;

    uint32_t exit_code = 0;
    bool oom_killed = false;
    uint32_t restarts = 0;         ///< By its policy, since a user started it.
    bool stopped_by_user = false;  ///< Its policy doesn't start it again, nor does a new daemon.
    std::string reason;            ///< ExitRecord::reason.
    std::string error;             ///< Why it couldn't start or what broke it.
};

inline constexpr size_t kIdDigits = 64;
inline constexpr size_t kShortIdDigits = 12;
inline constexpr uint32_t kDefaultStopTimeoutS = 10;
inline constexpr uint64_t kMinStorageBytes = 1 << 20;

[[nodiscard]] inline std::string short_id(std::string_view id) {
    return std::string(id.substr(0, kShortIdDigits));
}
/// The program and its arguments: entrypoint, then cmd.
[[nodiscard]] std::vector<std::string> argv_of(const ContainerConfig& config);

/// "unless-stopped" and the like.
[[nodiscard]] std::string_view to_string(RestartPolicy::Kind kind);
[[nodiscard]] std::optional<RestartPolicy::Kind> parse_restart_kind(std::string_view name);

/// What the user asked for, completed by what the image says (Docker's rules). kInvalid if neither
/// names a program.
[[nodiscard]] Result<ContainerConfig> merge(ContainerConfig asked, const ImageConfig& image);

/// Refuses what no machine could be made of: sizes out of range, NUL bytes, too long lists.
[[nodiscard]] Status validate(const ContainerConfig& config);

/// What the top of a container with a storage limit may occupy on the host. Twice the limit: what
/// was deleted may still lie there when its place is written elsewhere. And the image once more: a
/// file of it that is written in place takes no space that the guest would count. And journal and
/// metadata. Only a guest that breaks its own kernel's limit gets there, and gets I/O errors.
[[nodiscard]] constexpr uint64_t max_top_bytes(uint64_t storage_bytes, uint64_t image_bytes) {
    return 2 * storage_bytes + image_bytes + (uint64_t{64} << 20);
}

/// 15 for "15", "TERM" and "SIGTERM"; "RTMIN+3" too. kInvalid names the text.
[[nodiscard]] Result<uint32_t> parse_signal(std::string_view text);
/// "nofile=1024:2048" or "nofile=1024"; -1 is unlimited.
[[nodiscard]] Result<Ulimit> parse_ulimit(std::string_view text);
/// RLIMIT_* of a limit's name.
[[nodiscard]] std::optional<uint32_t> ulimit_resource(std::string_view name);

}  // namespace drupe::engine
