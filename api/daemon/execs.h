#pragma once

#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/mutex.h"
#include "base/result.h"

namespace drupe::daemon {

/// What an exec was made with (POST /containers/ID/exec).
struct ExecConfig {
    std::string container;  ///< Its id.
    std::vector<std::string> argv;
    std::vector<std::string> env;
    std::string working_dir;
    std::string user;
    std::string detach_keys;
    bool tty = false;
    bool privileged = false;
    bool attach_stdin = false;
    bool attach_stdout = false;
    bool attach_stderr = false;
};

/// Its words, as events have them.
[[nodiscard]] std::string command_line(const ExecConfig& config);

/// An exec as it is now.
struct ExecState {
    std::string id;  ///< 64 hex digits.
    ExecConfig config;
    bool started = false;
    bool running = false;
    uint32_t session = 0;  ///< In the guest, once it runs.
    std::optional<uint32_t> exit_code;
};

/// The execs of all containers, in this process's memory alone: they end with their machine, and
/// after a new daemon nobody asks for one. Any thread.
class Execs {
  public:
    static constexpr size_t kMax = 16384;  ///< The oldest that has ended makes room.

    [[nodiscard]] Result<ExecState> add(ExecConfig config);
    /// kNotFound: "No such exec instance: ID".
    [[nodiscard]] Result<ExecState> find(const std::string& id) const;
    /// kConflict: it was started before.
    [[nodiscard]] Result<ExecState> begin(const std::string& id);
    void runs(const std::string& id, uint32_t session);
    void ended(const std::string& id, uint32_t exit_code);
    /// Of those that run in a container.
    [[nodiscard]] std::vector<std::string> of_container(const std::string& container) const;
    /// The container's machine has ended.
    void drop_container(const std::string& container);

  private:
    mutable Mutex mutex_;
    std::map<std::string, ExecState> execs_ DRUPE_GUARDED_BY(mutex_);
    std::deque<std::string> order_ DRUPE_GUARDED_BY(mutex_);
};

}  // namespace drupe::daemon
