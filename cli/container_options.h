#pragma once

#include <optional>
#include <string>
#include <vector>

#include "api/engine/container.h"
#include "cli/args.h"

namespace drupe::cli {

/// The options of create and run that say what the container is.
class ContainerOptions {
  public:
    void declare(Args& args);
    /// kInvalid: a value that can't be read.
    [[nodiscard]] Result<engine::ContainerConfig> build();
    [[nodiscard]] const std::string& name() const { return name_; }
    [[nodiscard]] bool interactive() const { return interactive_; }
    [[nodiscard]] bool tty() const { return tty_; }
    [[nodiscard]] bool timing() const { return timing_; }
    /// --pull: "missing", "always" or "never".
    [[nodiscard]] const std::string& pull_policy() const { return pull_; }
    [[nodiscard]] bool pulls_quietly() const { return quiet_; }

    /// Writes the id to the --cidfile, which must not exist (check_id_file() before creating).
    [[nodiscard]] Status check_id_file() const;
    [[nodiscard]] Status write_id_file(const std::string& id) const;

  private:
    void declare_guest(Args& args);
    void declare_health(Args& args);
    [[nodiscard]] Status build_guest(engine::ContainerConfig& config);
    [[nodiscard]] Status build_health(engine::ContainerConfig& config) const;

    std::vector<std::string> operands_;  // IMAGE [COMMAND...]
    std::string name_;
    std::vector<std::string> env_;
    std::vector<std::string> env_files_;
    std::vector<std::string> labels_;
    std::vector<std::string> ulimits_;
    std::vector<std::string> storage_options_;
    std::string working_dir_;
    std::string user_;
    std::optional<std::string> entrypoint_;
    std::string host_name_;
    std::string domain_name_;
    std::optional<std::string> memory_;
    std::optional<std::string> cpus_;
    std::optional<std::string> shm_size_;
    std::optional<uint32_t> pids_limit_;
    std::vector<std::string> cap_add_;
    std::vector<std::string> cap_drop_;
    std::vector<std::string> groups_;
    std::vector<std::string> tmpfs_;
    std::vector<std::string> sysctls_;
    std::vector<std::string> dns_;
    std::vector<std::string> dns_options_;
    std::vector<std::string> dns_search_;
    std::vector<std::string> extra_hosts_;
    std::string restart_;
    std::string network_;
    std::optional<std::string> health_command_;
    std::string health_interval_;
    std::string health_timeout_;
    std::string health_start_period_;
    std::string health_start_interval_;
    std::optional<uint32_t> health_retries_;
    bool no_health_check_ = false;
    std::string log_driver_;
    std::vector<std::string> log_options_;
    bool init_ = false;
    bool privileged_ = false;
    std::string stop_signal_;
    std::optional<uint32_t> stop_timeout_s_;
    std::string kernel_;
    std::string kernel_args_;
    std::string boot_;
    std::string from_snapshot_;
    std::string id_file_;
    std::string pull_ = "missing";
    std::string platform_;
    bool quiet_ = false;
    bool interactive_ = false;
    bool tty_ = false;
    bool remove_ = false;
    bool read_only_ = false;
    bool console_ = false;
    bool timing_ = false;
};

/// Storage options as Docker's overlay2 has them: "size=10G" is the only one. Bytes; 0: none given.
[[nodiscard]] Result<uint64_t> parse_storage_options(const std::vector<std::string>& options);
/// kInvalid: no such policy.
[[nodiscard]] Status check_pull_policy(const std::string& policy);
/// kUnsupported: a platform that this build can't run.
[[nodiscard]] Status check_platform(const std::string& platform);

/// Variables of a file: NAME=VALUE or NAME (taken from this process) a line; # is a comment.
[[nodiscard]] Result<std::vector<std::string>> read_env_file(const std::string& path);
/// NAME alone is taken from this process, or dropped if it has none.
[[nodiscard]] Status add_variable(const std::string& text, std::vector<std::string>& out);

}  // namespace drupe::cli
