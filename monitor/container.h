#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "base/event_loop.h"
#include "base/result.h"
#include "monitor/agent/agent_session.h"
#include "monitor/config.h"
#include "monitor/control_server.h"
#include "monitor/exit_record.h"
#include "monitor/json_log.h"
#include "monitor/session.h"
#include "monitor/timeline.h"

namespace drupe {

/// What a container needs of its machine. The real one is Machine; tests have a fake.
class ContainerHost {
  public:
    virtual ~ContainerHost() = default;
    /// A connection to a port of the guest, usable at once.
    [[nodiscard]] virtual Result<Fd> connect_guest(uint32_t port) = 0;
    /// Fills the root disk's slot. Returns Root::reserved_bytes.
    [[nodiscard]] virtual Result<uint64_t> attach_root_disk() = 0;
    /// Waits for the requests in flight, writes the root disk out and closes it. The guest's next
    /// ones wait. After a failure the disk stays in place. done is called on the loop.
    virtual void release_root_disk(std::function<void(const Status&)> done) = 0;
    /// Puts a disk of the same size in its place; the guest goes on. done is called on the loop.
    virtual void replace_root_disk(control::Disk disk, std::function<void(const Status&)> done) = 0;
    /// Stops the vCPUs; done is called on the loop when they stand still, or with why they don't.
    virtual void pause(std::function<void(const Status&)> done) = 0;
    /// Lets them go on; a pause() that isn't done yet fails.
    [[nodiscard]] virtual Status resume() = 0;
    /// The steps of a save(), each called once on the loop.
    struct SaveSteps {
        /// The machine is captured, or why not; the vCPUs stand still, until resume().
        std::function<void(const Status&)> on_captured;
        /// Of a captured machine: the files are whole, or why they aren't.
        std::function<void(const Status&)> on_written;
    };
    /// Writes all of the machine but its disks into two empty files, and what its container has to
    /// say to the one that will go on. Not while another one is written.
    virtual void save(control::Snapshot files, std::string container_state, SaveSteps steps) = 0;
    /// What save() has captured is written now; otherwise resume() has it begin.
    virtual void write_now() = 0;
    /// From now on memory of the machine is given back while it has nothing to do.
    virtual void rest_when_idle() = 0;
    /// What save() was given when this machine was saved: it runs a workload already. Empty: it
    /// waits for its first order. Untrusted.
    [[nodiscard]] virtual const std::string& container_state() const = 0;
    /// KVM's counters, summed over the vCPUs; empty if they aren't read.
    [[nodiscard]] virtual std::map<std::string, uint64_t> statistics() const = 0;
    /// How often the guest has told which of its memory is free. It is the host's again.
    [[nodiscard]] virtual uint64_t free_page_reports() const = 0;
    [[nodiscard]] virtual uint64_t guest_faults() const = 0;
    [[nodiscard]] virtual std::string last_fault() const = 0;
    /// The host's file system is full, and the guest's requests wait.
    [[nodiscard]] virtual bool disk_waits_for_room() const = 0;
};

/// The life of a container inside its machine: gives the guest its orders, holds its sessions,
/// answers the control socket, and says how it ended. Runs on the loop's thread.
///
///     booting -> starting -> running -> stopping -> ended
///
/// While it is running it may be paused: its vCPUs stand still and no limit passes. Signals to the
/// workload resume it, and so does the workload's end.
///
/// Every state goes to ended when the machine stops, the agent is lost or a client says kill.
class Container {
  public:
    /// on_ended is called once, posted; the record lacks only its last mark. config, host and
    /// timeline outlive it.
    Container(EventLoop& loop, const MonitorConfig& config, ContainerHost& host, Timeline& timeline,
              std::function<void(ExitRecord)> on_ended);

    /// The guest connected to protocol::kControlPort.
    [[nodiscard]] Status attach_agent(Fd control);
    void handle(control::Request request, const ControlServer::Answer& answer);
    /// The machine stopped on its own; reason as in ExitRecord.
    void machine_stopped(const std::string& reason, const std::string& detail);

    static constexpr std::chrono::seconds kBootLimit{120};
    static constexpr std::chrono::seconds kOrderLimit{60};
    static constexpr std::chrono::seconds kHaltLimit{30};
    static constexpr std::chrono::seconds kReconnectLimit{5};
    /// The guest's own limit for a frozen file system.
    static constexpr std::chrono::seconds kFreezeLimit{10};
    /// A template is saved when its guest has reported no free memory for so long: Linux looks for
    /// some every two seconds until it has told of all.
    static constexpr std::chrono::milliseconds kReportRest{2500};
    /// But after so many of them, at most. A GiB takes four.
    static constexpr int kMaxReportRests = 4;
    static constexpr size_t kMaxFinishedExecs = 64;

  private:
    enum class State : uint8_t { kBooting, kStarting, kRunning, kStopping, kEnded };

    void on_hello(const protocol::Hello& hello);
    [[nodiscard]] protocol::Identity identity_now() const;
    void prepare_template();
    void save_when_reported(uint64_t reports, int rests);
    void save_template();
    void on_started(const Status& status);
    void workload_runs(Session::Offsets offsets);
    void on_exited(const protocol::Exited& exit);
    void on_lost(const Error& error);
    void on_workload_done(const control::ExitStatus& exit);
    void shut_down();
    void order(const agent::Order& order, const char* what);
    void end(const char* reason, uint32_t status, const std::string& error);
    void count(const char* mark);

    void do_attach(control::Request request, const ControlServer::Answer& answer);
    void do_exec(control::Request request, const ControlServer::Answer& answer);
    void do_wait(const control::Request& request, const ControlServer::Answer& answer);
    void do_started(const ControlServer::Answer& answer);
    static void add_waiter(std::vector<ControlServer::Answer>& waiters,
                           const ControlServer::Answer& answer);
    void do_saved(const ControlServer::Answer& answer);
    void on_written(const Status& status);
    void do_signal(const control::Request& request, const ControlServer::Answer& answer);
    void do_release_disk(const control::Request& request, const ControlServer::Answer& answer);
    void release_disk(bool frozen, const ControlServer::Answer& answer);
    void do_replace_disk(control::Request request, const ControlServer::Answer& answer);
    void do_snapshot(control::Request request, const ControlServer::Answer& answer);
    void stop_and_save(control::Snapshot files, const ControlServer::Answer& answer);
    void go_on_after_snapshot(const std::function<void()>& done);
    [[nodiscard]] std::string describe_state() const;
    void adopt();
    void run_hooks();
    void on_adopted(const Status& status, Session::Offsets offsets);
    void freeze(const std::function<void(bool frozen)>& done);
    void thaw(bool frozen, const std::function<void(bool consistent)>& done);
    void do_pause(const ControlServer::Answer& answer);
    void do_resume(const ControlServer::Answer& answer);
    void do_resize(const control::Request& request, const ControlServer::Answer& answer);
    void resume_machine();
    void do_order(const agent::Order& order, const ControlServer::Answer& answer);
    [[nodiscard]] control::MachineStatus status() const;
    void kill_session(uint32_t id);
    void finish_exec(uint32_t id, bool asked_for, const control::ExitStatus& exit);

    EventLoop& loop_;
    const MonitorConfig& config_;
    ContainerHost& host_;
    Timeline& timeline_;
    std::function<void(ExitRecord)> on_ended_;

    State state_ = State::kBooting;
    ExitRecord record_;
    JsonLog log_;
    std::unique_ptr<agent::AgentSession> agent_;
    std::map<uint32_t, std::unique_ptr<Session>>
        sessions_;  // by id; the workload's is always there
    std::map<uint32_t, control::ExitStatus> finished_execs_;
    enum class RootDisk : uint8_t { kAttached, kReleasing, kReleased, kReplacing };
    RootDisk root_disk_ = RootDisk::kAttached;
    bool root_frozen_ = false;
    uint32_t next_session_ = protocol::kWorkloadSession + 1;
    std::vector<ControlServer::Answer> waiters_;   // for the workload's end
    std::vector<ControlServer::Answer> starters_;  // for its beginning
    std::vector<ControlServer::Answer> savers_;    // for the last snapshot's files
    enum class Saving : uint8_t { kNever, kWrites, kDone };
    Saving saving_ = Saving::kNever;
    Status saved_ = ok();  // of kDone
    enum class Pause : uint8_t { kNone, kPausing, kPaused, kSnapshot };
    Pause pause_ = Pause::kNone;
    std::optional<Error> lost_while_paused_;
    EventLoop::Watch timer_;  // the current state's limit
};

}  // namespace drupe
