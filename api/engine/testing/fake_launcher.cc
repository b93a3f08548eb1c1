#include <fcntl.h>
#include <poll.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <map>

#include "api/engine/clock.h"
#include "api/engine/testing/fakes.h"
#include "api/engine/time_text.h"
#include "base/crc32c.h"
#include "vmm/snapshot/memory_pages.h"
#include "vmm/snapshot/state_file.h"

namespace drupe::engine::testing {
namespace {

[[noreturn]] void die(const char* why) {
    std::fprintf(stderr, "fake monitor: %s\n", why);
    _exit(99);
}
void require(bool condition, const char* what) {
    if (!condition) die(what);
}

std::vector<int> named_fds(MonitorConfig config) {
    std::vector<int> fds;
    for_each_descriptor(config, [&](int& fd) { fds.push_back(fd); });
    return fds;
}

/// What the real monitor would trip over, and more.
void check(const LaunchSpec& spec) {
    const MonitorConfig& c = spec.config;
    require(c.id.size() == kIdDigits, "id");
    if (c.save.given()) return;  // a template's has neither user of its own nor workload
    require(spec.uid >= kFirstMonitorUid && spec.uid < kFirstMonitorUid + kMonitorUids, "uid");
    require(c.memory_bytes % (2 << 20) == 0 && c.memory_bytes >= (64 << 20), "memory");
    require(spec.memory_max_bytes > c.memory_bytes, "cgroup memory");
    require(c.vcpus >= 1 && c.vcpus <= 32, "vcpus");
    auto fds = named_fds(c);
    std::sort(fds.begin(), fds.end());
    require(std::adjacent_find(fds.begin(), fds.end()) == fds.end(), "a descriptor named twice");
    for (const int fd : fds) require(fd > 2 && ::fcntl(fd, F_GETFD) >= 0, "descriptor");
    require(c.lock_fd >= 0 && ::flock(c.lock_fd, LOCK_EX | LOCK_NB) == 0, "alive lock");
    struct stat stat {};
    require(::fstat(c.exit_record_fd, &stat) == 0 && stat.st_size == 0, "exit record is empty");
    require(!c.workload.argv.empty(), "argv");
    require(c.identity.entropy.size() >= 32 && c.identity.machine_id.size() == 32, "identity");
}

class FakeMonitor {
  public:
    explicit FakeMonitor(MonitorConfig config) : config_(std::move(config)) {
        if (config_.save.given()) {
            save_template();
            return;
        }
        const auto argv = config_.workload.argv;
        what_ = argv[0];
        if (what_ == "exit") finish("exited", static_cast<uint32_t>(std::stoi(argv.at(1))));
        if (what_ == "missing") {
            record_.error = "exec \"missing\": executable file not found in $PATH";
            finish("not-started", 127);
        }
        if (what_ == "crash") _exit(1);
        if (what_ == "tty") print("ready\n");
        if (what_ == "hello") {
            print("hello\n");
            finish("exited", 0);
        }
    }

    [[noreturn]] void run() {
        require(::listen(config_.control_fd, 16) == 0, "listen");
        while (true) {
            std::vector<pollfd> polls{{config_.control_fd, POLLIN, 0}};
            polls.push_back(
                {what_ == "cat" || what_ == "tty" ? config_.stdio.stdin_fd : -1, POLLIN, 0});
            for (const auto& [fd, client] : clients_) polls.push_back({fd, POLLIN, 0});
            if (ended_ && now_ms() >= deadline_ms_) quit();
            ::poll(polls.data(), polls.size(), ended_ ? 5 : -1);
            if (polls[0].revents != 0) accept();
            if (polls[1].revents != 0) copy();
            for (size_t i = 2; i < polls.size(); ++i) {
                if (polls[i].revents != 0) serve(polls[i].fd);
            }
        }
    }

  private:
    void save_template() {
        for (const int fd : {config_.save.state_fd, config_.save.memory_fd}) {
            require(::lseek(fd, 0, SEEK_END) == 0, "an empty file for the snapshot");
            require(::write(fd, "saved", 5) == 5, "a file for the snapshot");
        }
        finish("saved", 0);
    }
    /// To whoever is attached, and into the log.
    void print(const std::string& text) {
        const int out = config_.stdio.stdout_fd;
        const auto size = static_cast<ssize_t>(text.size());
        if (out >= 0) require(::write(out, text.data(), text.size()) == size, "stdout");
        const std::string line = R"({"log":")" + text.substr(0, text.size() - 1) +
                                 R"(\n","stream":"stdout","time":")" + time_text(realtime_ns()) +
                                 "\"}\n";
        const auto written = ::write(config_.log.fds.at(0), line.data(), line.size());
        require(written == static_cast<ssize_t>(line.size()), "log");
    }
    static uint64_t now_ms() { return monotonic_ns() / 1'000'000; }

    void accept() {
        const int fd = ::accept4(config_.control_fd, nullptr, nullptr, SOCK_CLOEXEC);
        if (fd >= 0) clients_.emplace(fd, Fd(fd));
    }
    void copy() {
        char buffer[4096];
        const ssize_t n = ::read(config_.stdio.stdin_fd, buffer, sizeof buffer);
        if (what_ == "tty") {
            if (n <= 0) config_.stdio.stdin_fd = -1;  // who typed has gone; the terminal stays
            if (std::find(buffer, buffer + std::max<ssize_t>(n, 0), 'q') < buffer + n) {
                finish("exited", 3);
            }
            return;
        }
        if (n <= 0) return finish("exited", 0);
        require(::write(config_.stdio.stdout_fd, buffer, static_cast<size_t>(n)) == n, "copy");
    }
    void attach(control::Stdio& stdio) {
        config_.stdio.stdin_fd = stdio.stdin_fd.release();
        config_.stdio.stdout_fd = stdio.stdout_fd.release();
        config_.stdio.stderr_fd = stdio.stderr_fd.release();
    }
    static void run_builtin(const control::Request& request) {
        std::string text;
        if (request.start.builtin == protocol::Builtin::kProcesses) {
            protocol::ProcessList list;
            list.processes.resize(1);
            list.processes[0].pid = 1;
            list.processes[0].command = "bad\x1b[m";
            text = protocol::encode(list);
        }
        if (request.start.builtin == protocol::Builtin::kUsage) {
            text = protocol::encode(protocol::Usage{.memory_bytes = 77, .processes = 5});
        }
        const auto size = static_cast<ssize_t>(text.size());
        require(::write(request.stdio.stdout_fd.get(), text.data(), text.size()) == size, "stdout");
    }
    /// Of a machine that has touched one page of its RAM.
    void write_snapshot(const control::Snapshot& files) const {
        const std::string memory(4096, 'm');
        const auto page = std::as_bytes(std::span(memory));
        const StateSection section{
            std::string(kMemorySection), kMemorySectionVersion,
            encode_memory_pages({config_.memory_bytes / page.size(), {{0, 1}}, {crc32c(page)}})};
        const std::string state = encode_state_file(std::span(&section, 1));
        constexpr uint64_t kLie = 1ULL << 40;
        const auto length = static_cast<off_t>(what_ == "lie" ? kLie : config_.memory_bytes);
        const bool written = write_exact(files.memory.get(), page, 0) &&
                             ::ftruncate(files.memory.get(), length) == 0 &&
                             write_exact(files.state.get(), std::as_bytes(std::span(state)), 0);
        require(written, "write a snapshot");
    }
    void release_disk() {
        require(!std::exchange(released_, true), "released twice");
        disk_ = {};
        for (int* top : {&config_.root_disk.top_data_fd, &config_.root_disk.top_meta_fd})
            if (*top >= 0) ::close(std::exchange(*top, -1));
    }
    void answer(int fd, const control::Reply& reply) {
        static_cast<void>(control::send_packet(fd, control::encode(reply), {}));
    }

    void serve(int fd) {
        auto packet = control::receive_packet(fd);
        if (!packet || !packet.value()) {
            clients_.erase(fd);
            return;
        }
        auto request =
            control::decode_request(packet.value()->text, std::move(packet.value()->fds));
        require(request.has_value(), "request");
        if (what_ == "deaf") return;
        control::Reply reply;
        reply.id = request.value().id;
        switch (request.value().op) {
            case control::Op::kStatus:
                reply.machine = control::MachineStatus{
                    ended_ ? "ended" : "running", 0, "", {}, paused_, released_};
                break;
            case control::Op::kStarted:
                if (ended_) {
                    reply.error = "the container has ended";
                    reply.os_error = ESRCH;
                }
                break;
            case control::Op::kWait:
                if (what_ == "crowded") {
                    reply.error = "too many clients wait";
                    break;
                }
                waiters_.emplace_back(fd, reply.id);
                if (request.value().session != protocol::kWorkloadSession) {
                    waiters_.pop_back();
                    reply.exit = control::ExitStatus{exec_status_, 0, false};
                    break;
                }
                return ended_ ? tell_waiters() : void();
            case control::Op::kPause:
            case control::Op::kResume: {
                const bool pause = request.value().op == control::Op::kPause;
                if (std::exchange(paused_, pause) == pause) {
                    reply.error = "it is so already";
                    reply.os_error = EALREADY;
                }
                break;
            }
            case control::Op::kSignal:
                answer(fd, reply);
                paused_ = false;
                if (request.value().signal == SIGHUP) return;
                if (request.value().signal == SIGKILL || what_ != "stubborn") {
                    finish("exited", 128 + request.value().signal);
                }
                return;
            case control::Op::kKill:
                answer(fd, reply);
                return finish("killed", 137);
            case control::Op::kLimits:
                print("limits " + std::to_string(request.value().limits.memory_max) + " " +
                      std::to_string(request.value().limits.pids_max) + "\n");
                break;
            case control::Op::kExec: {
                if (request.value().start.builtin != protocol::Builtin::kNone) {
                    run_builtin(request.value());
                    reply.session = 3;
                    break;
                }
                const auto& argv = request.value().start.argv;
                if (argv[0] == "die") ::_exit(1);
                if (argv[0] == "missing") {
                    reply.error = "exec: \"missing\": executable file not found in $PATH";
                    reply.os_error = ENOENT;
                    break;
                }
                exec_status_ = argv.size() > 1 ? static_cast<uint32_t>(std::stoi(argv[1])) : 0;
                const int out = request.value().stdio.stdout_fd.get();
                if (out >= 0) require(::write(out, "exec\n", 5) == 5, "exec's stdout");
                reply.session = 2;
                break;
            }
            case control::Op::kResize:
                if (what_ == "tty") {
                    print("size " + std::to_string(request.value().rows) + " " +
                          std::to_string(request.value().columns) + "\n");
                }
                break;
            case control::Op::kAttach:
                attach(request.value().stdio);
                break;
            case control::Op::kSnapshot: {
                require(!paused_, "a snapshot of a paused machine");
                if (what_ == "unsaved") {
                    reply.error = "no room";
                    break;
                }
                release_disk();
                write_snapshot(request.value().snapshot);
                break;
            }
            case control::Op::kSaved:
                if (what_ == "unwritten") reply.error = "no room";
                break;
            case control::Op::kReleaseDisk:
                release_disk();
                require(!paused_ || !request.value().freeze, "a paused guest can't freeze");
                frozen_ = request.value().freeze && what_ != "unfrozen";
                reply.consistent = frozen_;
                break;
            case control::Op::kReplaceDisk:
                if (what_ == "greedy") {
                    reply.error = "I have another";
                    break;
                }
                require(std::exchange(released_, false), "replaced what wasn't released");
                disk_ = std::move(request.value().disk);
                reply.consistent = frozen_;
                break;
        }
        answer(fd, reply);
    }

    /// The workload has ended. The process lives a little longer, as the real one does while its
    /// machine is torn down.
    void finish(const char* reason, uint32_t status) {
        if (ended_) return;
        ended_ = true;
        record_.reason = reason;
        record_.status = status;
        record_.started_at_ns = status == 127 ? 0 : realtime_ns();
        record_.finished_at_ns = realtime_ns();
        for (const int fd : {config_.stdio.stdout_fd, config_.stdio.stderr_fd}) {
            if (fd >= 0) ::close(fd);
        }
        config_.stdio = {};
        const std::string text = what_ == "garbage" ? "{\"reason\":3}" : to_json(record_);
        require(::pwrite(config_.exit_record_fd, text.data(), text.size(), 0) ==
                    static_cast<ssize_t>(text.size()),
                "write the record");
        deadline_ms_ = now_ms() + 50;
        tell_waiters();
    }
    void tell_waiters() {
        for (const auto& [fd, id] : waiters_) {
            control::Reply reply;
            reply.id = id;
            reply.exit = control::ExitStatus{record_.status, 0, false};
            answer(fd, reply);
        }
        waiters_.clear();
    }
    [[noreturn]] void quit() {
        // The real one's last lines come as late, and it never waits for whoever reads them.
        if (config_.console_fd >= 0) {
            require(set_nonblocking(config_.console_fd, true).has_value(), "console");
            require(::write(config_.console_fd, "power down\n", 11) == 11, "console");
        }
        _exit(static_cast<int>(record_.status));
    }

    MonitorConfig config_;
    std::string what_;
    std::map<int, Fd> clients_;
    std::vector<std::pair<int, uint64_t>> waiters_;
    ExitRecord record_;
    bool released_ = false;  // the root disk
    bool paused_ = false;
    bool frozen_ = false;  // when it was released
    control::Disk disk_;
    uint32_t exec_status_ = 0;
    bool ended_ = false;
    uint64_t deadline_ms_ = 0;
};

/// Only what the configuration names may be open, as behind the real launcher.
void close_others(const std::vector<int>& keep) {
    for (int fd = 3; fd < 1024; ++fd) {
        if (std::find(keep.begin(), keep.end(), fd) == keep.end()) ::close(fd);
    }
}

/// Its output must not keep a test's pipe open; what it complains about is on stderr.
void leave_streams() {
    ::signal(SIGPIPE, SIG_IGN);
    ::setpgid(0, 0);
    const int null = ::open("/dev/null", O_RDWR);
    ::dup2(null, 0);
    ::dup2(null, 1);
    ::close(null);
}

Result<Fd> make_config_file(const MonitorConfig& config) {
    Fd fd(::memfd_create("config", MFD_CLOEXEC));
    if (!fd.valid()) return os_error("memfd_create");
    const std::string text = to_json(config);
    TRY(write_exact(fd.get(), std::as_bytes(std::span(text)), 0));
    return fd;
}

/// Between a fork and an exec: no memory is allocated.
[[noreturn]] void become(const char* program, const std::vector<int>& keep, int config_fd) {
    close_others(keep);
    leave_streams();
    for (const int fd : keep) ::fcntl(fd, F_SETFD, 0);
    char digits[] = {static_cast<char>('0' + config_fd / 100 % 10),
                     static_cast<char>('0' + config_fd / 10 % 10),
                     static_cast<char>('0' + config_fd % 10), '\0'};
    ::execl(program, program, "--config-fd", digits, nullptr);
    _exit(98);
}

}  // namespace

Result<pid_t> FakeLauncher::launch(const LaunchSpec& spec) {
    if (!fail_with.empty()) return Error{ErrorCode::kUnsupported, fail_with};
    last = spec;
    auto keep = named_fds(spec.config);
    Fd config;
    if (runs_program) {
        check(spec);
        TRY_ASSIGN(config, make_config_file(spec.config));
        keep.push_back(config.get());
    }
    TRY_ASSIGN(FdPair ready, make_pipe());
    const pid_t pid = ::fork();
    if (pid < 0) return os_error("fork");
    if (pid > 0) {
        pids.push_back(pid);
        // Ends when the child has closed what is not its own, our locks among it.
        ready.second.reset();
        TRY(read_all(ready.first.get(), 1));
        return pid;
    }
    if (runs_program) become(spec.program.c_str(), keep, config.get());
    close_others(keep);
    leave_streams();
    check(spec);
    FakeMonitor(spec.config).run();
}

void run_fake_monitor(int config_fd) {
    constexpr size_t kMaxConfigBytes = 4 << 20;
    ::signal(SIGPIPE, SIG_IGN);
    ::lseek(config_fd, 0, SEEK_SET);
    const auto text = read_all(config_fd, kMaxConfigBytes);
    require(text.has_value(), "configuration");
    auto config = parse_monitor_config(text.value());
    require(config.has_value(), "configuration");
    ::close(config_fd);
    FakeMonitor(config.value()).run();
}

Status FakeLauncher::kill_all(const std::string& /*id*/) {
    for (const pid_t pid : pids) ::kill(pid, SIGKILL);
    return ok();
}

Status FakeLauncher::release(const std::string& id) {
    if (stuck.contains(id)) return os_error("remove its cgroup", EIO);
    for (const pid_t pid : pids) ::waitpid(pid, nullptr, WNOHANG);
    return ok();
}

Result<HostUsage> FakeLauncher::usage(const std::string& id) {
    if (id != last.config.id) return Error{ErrorCode::kNotFound, "no such cgroup"};
    HostUsage usage;
    usage.cpu_us = 1234;
    usage.memory_max_bytes = last.memory_max_bytes;
    return usage;
}

Status FakeLauncher::limit_cpu(const std::string& /*id*/, uint32_t percent) {
    cpu_percent = percent;
    return ok();
}

Status FakeLauncher::limit_memory(const std::string& /*id*/, uint64_t bytes) {
    memory_limits.push_back(bytes);
    return ok();
}

Result<std::vector<std::string>> FakeLauncher::leftovers() {
    return left;
}

}  // namespace drupe::engine::testing
