#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "tests/boot/command.h"

namespace drupe::testing {

/// While it lives, commands work with a daemon in a root folder of their own, with more variables.
class OwnDaemon {
  public:
    OwnDaemon(const std::string& suffix, std::map<std::string, std::string> variables);
    ~OwnDaemon();
    OwnDaemon(const OwnDaemon&) = delete;
    OwnDaemon& operator=(const OwnDaemon&) = delete;

  private:
    std::map<std::string, std::string> variables_;
    std::string root_before_;  // "": there was none
};

/// A detached busybox container that sleeps until the object ends.
class Running {
  public:
    explicit Running(const std::vector<std::string>& options = {});
    ~Running();
    Running(const Running&) = delete;
    Running& operator=(const Running&) = delete;

    [[nodiscard]] const std::string& id() const { return id_; }
    /// The host's process id of its monitor.
    [[nodiscard]] pid_t monitor_pid() const;

  private:
    std::string id_;
};

/// A detached busybox container that runs a script, removed at its end with all that was forked
/// from it.
class Parent {
  public:
    explicit Parent(const std::string& script, const std::vector<std::string>& options = {});
    ~Parent();
    Parent(const Parent&) = delete;
    Parent& operator=(const Parent&) = delete;

    [[nodiscard]] const std::string& id() const { return all_.front(); }
    std::vector<std::string> fork(int count);
    void remove(const std::string& id);

  private:
    std::vector<std::string> all_;
};

/// What a script in a running container prints.
std::string in(const std::string& container, const std::string& script);
/// How often a container's kernel has heard that it goes on from a snapshot (VMGenID's interrupts).
int restores_heard(const std::string& container);
/// What a container's monitor, with its machine's RAM, has for itself.
int private_kib(const std::string& container);
/// Whether a machine's RAM isn't there at present: nothing of a snapshot's file is mapped.
bool is_folded(const std::string& container);
/// Waits for that; false: it never was. Of a machine that didn't boot.
[[nodiscard]] bool await_folded(const std::string& container);
/// Below $DRUPE_ROOT, the folder of what was saved of a container; of "": a live image's.
std::filesystem::path saved_by(const std::string& container);
/// Waits until a command succeeds in it; false: it never did.
[[nodiscard]] bool await_in(const std::string& container, const std::vector<std::string>& command);
/// Waits until a container's log has so many lines.
[[nodiscard]] std::vector<std::string> await_log(const std::string& container, size_t count);

/// Options of a container that expect_freed_memory_returns().
inline const std::vector<std::string> kLargeShm{"--shm-size", "256m"};
/// Has a container fill 200 MiB of memory and free them again; does the host have most of them
/// back within seconds?
void expect_freed_memory_returns(const std::string& container);

/// Without the newlines at its end.
[[nodiscard]] std::string trim(std::string text);
[[nodiscard]] std::vector<std::string> lines_of(const std::string& text);

}  // namespace drupe::testing
