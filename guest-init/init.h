#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>

#include "base/event_loop.h"
#include "base/fd.h"
#include "base/result.h"
#include "guest-init/cgroup.h"
#include "guest-init/frame_socket.h"
#include "guest-init/identity.h"
#include "guest-init/mounts.h"
#include "guest-init/protocol.h"
#include "guest-init/session.h"
#include "guest-init/stream_listener.h"

namespace drupe::init {

/// What differs between a guest and a test on an ordinary machine.
struct Platform {
    std::function<Result<Fd>()> connect_control;  ///< A stream socket; may block for a while.
    std::function<Result<Fd>()> listen_streams;
    /// What mount_disk() needs of the machine, whichever the disk.
    std::function<Status()> prepare_disks;
    std::function<Status(const protocol::Root&, const std::string& where)> mount_disk;
    /// Where the directories `disk` and `identity` are: "" in the guest.
    std::string base;
    /// Called after Halted has been sent. Doesn't return in the guest.
    std::function<void()> power_off;
};

/// The whole of drupe-init: one thread, one loop. PID 1 of the machine (of a PID namespace in
/// tests). Orders are carried out one after the other as they come.
class Init {
  public:
    /// started_ns: CLOCK_BOOTTIME when main() began.
    Init(Platform platform, uint64_t started_ns);

    /// Says Hello, then serves until the host ends the machine. An error: the machine can't go on.
    [[nodiscard]] Status run();

  private:
    using Answer = protocol::Answer;

    void connect();
    void say_hello(Fd control);
    [[nodiscard]] std::optional<size_t> consume(std::string_view bytes);
    [[nodiscard]] bool welcome(const protocol::Parsed& frame);
    /// The order's answer; nothing if it breaks a rule.
    [[nodiscard]] std::optional<Status> carry_out(const protocol::Parsed& frame);
    void send_answer(uint32_t id, const Status& status);

    [[nodiscard]] Status prepare(const protocol::Prepare& order);
    [[nodiscard]] Status mount_root(const protocol::Root& order);
    [[nodiscard]] Status take_identity(const protocol::Identity& order);
    [[nodiscard]] Status start(const protocol::Start& order);
    [[nodiscard]] Status start_workload(const protocol::Start& order);
    [[nodiscard]] Status start_exec(const protocol::Start& order);
    [[nodiscard]] Status forget(const protocol::Forget& order);
    [[nodiscard]] Status suspend(const protocol::Suspend& order);
    [[nodiscard]] Status freeze(const protocol::Freeze& order);
    [[nodiscard]] Status limit(const protocol::Limits& order);
    [[nodiscard]] Status thaw(const protocol::Thaw& order);
    void shut_down();

    [[nodiscard]] Session* find(uint32_t id);
    void open_stream(const protocol::StreamOpen& open, Fd connection);
    [[nodiscard]] Status watch_children();
    /// Whether there are children left.
    bool reap();
    void announce(const protocol::Exited& exited);

    Platform platform_;
    uint64_t started_ns_;
    std::unique_ptr<EventLoop> loop_;
    std::unique_ptr<protocol::FrameSocket> control_;
    bool welcomed_ = false;
    bool may_reconnect_ = false;
    EventLoop::Watch reconnect_;
    std::unique_ptr<StreamListener> streams_;
    Fd child_signal_;
    EventLoop::Watch child_watch_;

    EventLoop::Watch rehearsal_;
    bool prepared_ = false;
    PreparedMounts mounts_;
    bool root_mounted_ = false;
    bool discard_changes_ = false;
    bool frozen_ = false;
    EventLoop::Watch thaw_timer_;
    IdentityFiles identity_;
    Cgroup cgroup_;
    bool workload_started_ = false;
    Fd workload_pidfd_;
    std::map<uint32_t, Session> sessions_;
    uint64_t oom_kills_seen_ = 0;
};

}  // namespace drupe::init
