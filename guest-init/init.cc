#include "guest-init/init.h"

#include <sched.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <utility>

#include "guest-init/kernel_settings.h"
#include "guest-init/mounts.h"
#include "guest-init/rehearsal.h"

namespace drupe::init {

using protocol::Kind;

namespace {

constexpr std::chrono::milliseconds kReconnectPause{100};
/// A machine that has gone on from a template and gets no order for so long stands by.
constexpr std::chrono::milliseconds kStandbyAfter{20};
/// Answers that the host hasn't read: above this no further orders are taken.
constexpr size_t kMaxUnsentAnswers = 64 << 10;

uint32_t count_cpus() {
    cpu_set_t set;
    CPU_ZERO(&set);
    if (::sched_getaffinity(0, sizeof set, &set) < 0) return 1;
    return static_cast<uint32_t>(CPU_COUNT(&set));
}

Status refuse(int error, const char* why) {
    return Error{ErrorCode::kConflict, why, error};
}

}  // namespace

Init::Init(Platform platform, uint64_t started_ns)
    : platform_(std::move(platform)), started_ns_(started_ns) {}

Status Init::run() {
    // Nothing comes before Hello that can come after it: the host waits for that.
    Result<Fd> control = platform_.connect_control();
    loop_ = make_event_loop();
    if (control)
        say_hello(std::move(control).value());
    else
        connect();
    TRY_ASSIGN(Fd listener, platform_.listen_streams());
    streams_ = std::make_unique<StreamListener>(
        *loop_, std::move(listener), [this](const protocol::StreamOpen& open, Fd connection) {
            open_stream(open, std::move(connection));
        });
    TRY(watch_children());
    loop_->run();
    return ok();
}

void Init::connect() {
    // At once if the lost connection was one: a host that went on from a snapshot waits for it.
    const auto pause =
        std::exchange(may_reconnect_, false) ? std::chrono::milliseconds(0) : kReconnectPause;
    reconnect_ = loop_->after(pause, [this] {
        Result<Fd> control = platform_.connect_control();
        if (control)
            say_hello(std::move(control).value());
        else
            connect();
    });
}

void Init::say_hello(Fd control) {
    welcomed_ = false;
    control_ = std::make_unique<protocol::FrameSocket>(
        *loop_, std::move(control),
        protocol::FrameSocket::Events{
            .consume = [this](std::string_view bytes) { return consume(bytes); },
            .on_drained = [this] { control_->resume(); },
            .on_closed =
                [this](bool) {
                    control_.reset();
                    connect();
                }});
    utsname names{};
    (void)::uname(&names);
    control_->send(protocol::frame(Kind::kHello, 0,
                                   protocol::Hello{.cpus = count_cpus(),
                                                   .init_started_ns = started_ns_,
                                                   .kernel_release = names.release}));
    if (prepared_ && !root_mounted_)
        rehearsal_ = loop_->after(kStandbyAfter, [this] { rehearse(platform_.base, cgroup_); });
}

std::optional<size_t> Init::consume(std::string_view bytes) {
    if (control_->unsent_bytes() > kMaxUnsentAnswers) {
        control_->pause();
        return 0;
    }
    const protocol::Parsed frame = protocol::parse_frame(bytes, protocol::kMaxOrderBytes);
    if (frame.state == protocol::Parsed::State::kBroken) return std::nullopt;
    if (frame.state == protocol::Parsed::State::kIncomplete) return 0;
    if (!welcomed_) {
        if (!welcome(frame)) return std::nullopt;
    } else if (frame.header.kind == Kind::kShutdown && frame.payload.empty()) {
        send_answer(frame.header.id, ok());
        shut_down();
    } else {
        const auto status = carry_out(frame);
        if (!status) return std::nullopt;
        send_answer(frame.header.id, *status);
    }
    return frame.size;
}

bool Init::welcome(const protocol::Parsed& frame) {
    if (frame.header.kind != Kind::kWelcome) return false;
    const auto welcome = protocol::decode<protocol::Welcome>(frame.payload);
    if (!welcome || welcome->version < protocol::kMinVersion ||
        welcome->version > protocol::kVersion)
        return false;
    welcomed_ = may_reconnect_ = true;
    for (const auto& [id, session] : sessions_)
        if (session.exit()) announce(*session.exit());
    return true;
}

std::optional<Status> Init::carry_out(const protocol::Parsed& frame) {
    const auto with = [&]<class T>(Status (Init::*handler)(const T&)) -> std::optional<Status> {
        const auto order = protocol::decode<T>(frame.payload);
        if (!order) return std::nullopt;
        return (this->*handler)(*order);
    };
    const auto with_session = [&]<class T>(Status (Session::*handler)(const T&)
                                               const) -> std::optional<Status> {
        const auto order = protocol::decode<T>(frame.payload);
        if (!order) return std::nullopt;
        const Session* session = find(order->session);
        if (session == nullptr) return refuse(ESRCH, "no such session");
        return (session->*handler)(*order);
    };
    switch (frame.header.kind) {
        case Kind::kPrepare:
            return with(&Init::prepare);
        case Kind::kRoot:
            return with(&Init::mount_root);
        case Kind::kIdentity:
            return with(&Init::take_identity);
        case Kind::kStart:
            return with(&Init::start);
        case Kind::kForget:
            return with(&Init::forget);
        case Kind::kFreeze:
            return with(&Init::freeze);
        case Kind::kThaw:
            return with(&Init::thaw);
        case Kind::kLimits:
            return with(&Init::limit);
        case Kind::kSuspend:
            return with(&Init::suspend);
        case Kind::kSignal:
            return with_session(&Session::signal);
        case Kind::kResize:
            return with_session(&Session::resize);
        default:
            return std::nullopt;
    }
}

void Init::send_answer(uint32_t id, const Status& status) {
    Answer answer;
    if (!status) {
        const int error = status.error().os_errno;
        answer = {.error = error > 0 ? error : EIO, .message = status.error().message};
    }
    control_->send(protocol::frame(Kind::kAnswer, id, answer));
}

Status Init::prepare(const protocol::Prepare& /*order*/) {
    if (prepared_) return ok();
    const std::string files = platform_.base + "/identity";
    TRY(platform_.prepare_disks());
    TRY_ASSIGN(identity_, IdentityFiles::create(files));
    TRY_ASSIGN(mounts_, prepare_mounts(files));
    TRY_ASSIGN(cgroup_, Cgroup::create());
    TRY(prepare_kernel());
    prepared_ = true;
    return ok();
}

Status Init::mount_root(const protocol::Root& order) {
    rehearsal_.reset();
    if (root_mounted_) return refuse(EEXIST, "the root is mounted already");
    const std::string disk = platform_.base + "/disk";
    TRY(prepare({}));
    TRY(platform_.mount_disk(order, disk));
    TRY(enter_root(disk, order.read_only, std::exchange(mounts_, {})));
    if (order.reserved_bytes != 0) {
        TRY(limit_root(order));
    }
    root_mounted_ = true;
    discard_changes_ = order.discard_changes;
    return ok();
}

Status Init::take_identity(const protocol::Identity& order) {
    if (!root_mounted_) return refuse(EINVAL, "an identity needs a root");
    TRY(identity_.apply(order));
    return apply_to_kernel(order);
}

Status Init::start(const protocol::Start& order) {
    if (!root_mounted_) return refuse(EINVAL, "a program needs a root");
    // It would touch the root, and this thread, which has to thaw it, would wait for that.
    if (frozen_) return refuse(EBUSY, "the root is frozen");
    if (sessions_.count(order.session) != 0) return refuse(EEXIST, "the session exists already");
    if (sessions_.size() >= protocol::kMaxSessions) return refuse(EAGAIN, "too many sessions");
    if (!order.only_with.empty() && ::access(order.only_with.c_str(), F_OK) < 0)
        return os_error(order.only_with);
    return order.session == protocol::kWorkloadSession ? start_workload(order) : start_exec(order);
}

Status Init::start_workload(const protocol::Start& order) {
    if (workload_started_) return refuse(EEXIST, "the workload was started already");
    TRY(cgroup_.set_limits(order.memory_max, order.pids_max));
    workload_started_ = true;
    TRY_ASSIGN(Spawned spawned, spawn(order, {.cgroup = &cgroup_}));
    workload_pidfd_ = Fd(static_cast<int>(::syscall(SYS_pidfd_open, spawned.pid, 0)));
    sessions_.try_emplace(order.session, *loop_, order.session, std::move(spawned), order.tty);
    return ok();
}

Status Init::start_exec(const protocol::Start& order) {
    const Session* workload = find(protocol::kWorkloadSession);
    if (workload == nullptr || !workload->running() || !workload_pidfd_.valid())
        return refuse(ESRCH, "the container isn't running");
    TRY_ASSIGN(Spawned spawned,
               spawn(order, {.cgroup = &cgroup_, .join_pidfd = workload_pidfd_.get()}));
    sessions_.try_emplace(order.session, *loop_, order.session, std::move(spawned), order.tty);
    return ok();
}

Status Init::forget(const protocol::Forget& order) {
    const Session* session = find(order.session);
    if (session == nullptr) return refuse(ESRCH, "no such session");
    if (session->running()) return refuse(EBUSY, "the session's process runs");
    sessions_.erase(order.session);
    return ok();
}

Status Init::limit(const protocol::Limits& order) {
    if (!workload_started_) return refuse(ESRCH, "the container isn't running");
    return cgroup_.set_limits(order.memory_max, order.pids_max);
}

Status Init::suspend(const protocol::Suspend& order) {
    if (!workload_started_) return refuse(ESRCH, "the container isn't running");
    // Who goes on from this memory may be kept, whatever becomes of this machine.
    if (order.suspended) discard_changes_ = false;
    return cgroup_.suspend(order.suspended);
}

Status Init::freeze(const protocol::Freeze& order) {
    if (!root_mounted_) return refuse(EINVAL, "there is no root to freeze");
    if (frozen_) return refuse(EBUSY, "the root is frozen already");
    TRY(freeze_root());
    frozen_ = true;
    thaw_timer_ = loop_->after(std::chrono::milliseconds(order.limit_ms), [this] {
        frozen_ = false;
        (void)thaw_root();
    });
    return ok();
}

Status Init::thaw(const protocol::Thaw& /*order*/) {
    thaw_timer_.reset();
    if (!std::exchange(frozen_, false)) return refuse(ETIME, "the root wasn't frozen any more");
    return thaw_root();
}

void Init::shut_down() {
    if (frozen_) (void)thaw({});
    constexpr timespec kPatience{.tv_sec = 5, .tv_nsec = 0};  // a process can hang in the kernel
    sigset_t child;
    ::sigemptyset(&child);
    ::sigaddset(&child, SIGCHLD);
    // All there is descends from our children, and the workload is reaped after its whole
    // namespace.
    while (reap()) {
        if (::getpid() == 1) ::kill(-1, SIGKILL);
        if (::sigtimedwait(&child, nullptr, &kPatience) < 0 && errno == EAGAIN) break;
    }
    if (root_mounted_ && !discard_changes_) flush_root();
    control_->send(protocol::frame(Kind::kHalted, 0, protocol::Shutdown{}));
    platform_.power_off();
    loop_->stop();
}

Session* Init::find(uint32_t id) {
    const auto it = sessions_.find(id);
    return it == sessions_.end() ? nullptr : &it->second;
}

void Init::open_stream(const protocol::StreamOpen& open, Fd connection) {
    if (Session* session = find(open.session)) return session->attach(open, std::move(connection));
    refuse_stream(connection, ENOENT);
}

Status Init::watch_children() {
    sigset_t set;
    ::sigemptyset(&set);
    ::sigaddset(&set, SIGCHLD);
    if (::sigprocmask(SIG_BLOCK, &set, nullptr) < 0) return os_error("block SIGCHLD");
    ::signal(SIGPIPE, SIG_IGN);
    child_signal_ = Fd(::signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK));
    if (!child_signal_.valid()) return os_error("signalfd");
    child_watch_ = loop_->on_readable(child_signal_.get(), [this] {
        signalfd_siginfo info;
        [[maybe_unused]] const ssize_t ignored = ::read(child_signal_.get(), &info, sizeof info);
        (void)reap();
    });
    return ok();
}

bool Init::reap() {
    for (;;) {
        int status = 0;
        const pid_t pid = ::waitpid(-1, &status, WNOHANG);
        if (pid < 0 && errno == EINTR) continue;
        if (pid <= 0) return pid == 0;
        for (auto& [id, session] : sessions_) {
            if (session.pid() != pid || !session.running()) continue;
            const uint64_t kills = cgroup_.oom_kills();
            const bool oom_killed = kills > std::exchange(oom_kills_seen_, kills);
            session.process_exited(status, oom_killed);
            if (welcomed_ && control_) announce(*session.exit());
        }
    }
}

void Init::announce(const protocol::Exited& exited) {
    control_->send(protocol::frame(Kind::kExited, 0, exited));
}

}  // namespace drupe::init
