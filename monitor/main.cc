// drupe-vmm: one machine. Started by the engine, with everything it will ever use as descriptors.

#include <fcntl.h>
#include <malloc.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <charconv>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <optional>
#include <utility>

#include "base/event_loop.h"
#include "base/log.h"
#include "monitor/config.h"
#include "monitor/confine/seccomp.h"
#include "monitor/machine.h"
#include "monitor/standby.h"
#include "monitor/tenant.h"

namespace drupe {
namespace {

constexpr size_t kMaxConfigBytes = 4 << 20;
constexpr int kUsageError = 125;
constexpr int kLargeAllocation = 64 << 10;  // a control message's buffer

constexpr const char* kUsage =
    R"(usage: drupe-vmm --config-fd N

Runs one microVM. Started by drupe, which hands over a configuration (JSON, on descriptor N) and every file that
it names; drupe-vmm itself opens nothing. Not meant to be started by hand: see `drupe run --help`.
)";

/// Threads that must not run before the main one is confined wait here.
class Gate {
  public:
    void open(bool confined) {
        state_.store(confined ? State::kOpen : State::kRefused);
        state_.notify_all();
    }
    [[nodiscard]] Status wait() const {
        state_.wait(State::kClosed);
        if (state_.load() == State::kOpen) return ok();
        return Error{ErrorCode::kInternal, "the main thread isn't confined"};
    }

  private:
    enum class State : uint8_t { kClosed, kOpen, kRefused };
    std::atomic<State> state_ = State::kClosed;
};

/// Where a failure before the first guest instruction goes: the exit record, if there is one, and
/// standard error.
class Outcome {
  public:
    void set_record(Fd fd) { fd_ = std::move(fd); }

    void write(const ExitRecord& record) {
        status_ = static_cast<int>(record.status);
        if (!fd_.valid()) return;
        const std::string text = to_json(record);
        auto status = write_exact(fd_.get(), std::as_bytes(std::span(text)), 0);
        if (!status) log(LogLevel::kError, "exit record: {}", status.error().message);
    }
    int fail(const Error& error, const Timeline& timeline) {
        log(LogLevel::kError, "{}", error.message);
        ExitRecord record;
        record.reason = "vmm-error";
        record.status = kUsageError;
        record.error = error.message;
        record.finished_at_ns = Timeline::now_ns(CLOCK_REALTIME);
        record.marks = timeline.marks();
        write(record);
        return kUsageError;
    }
    [[nodiscard]] int status() const { return status_; }

  private:
    Fd fd_;
    int status_ = kUsageError;
};

/// Makes a machine that stood by a container's: its configuration is the container's from here on.
Status take_in(Assignment assignment, MonitorConfig& config, Machine& machine, Timeline& timeline,
               Outcome& outcome, Tenant& tenant) {
    const bool same = assignment.config.memory_bytes == config.memory_bytes &&
                      assignment.config.vcpus == config.vcpus;
    if (!same) return Error{ErrorCode::kInvalid, "it is a container for another machine"};
    assignment.config.may_swap = config.may_swap;  // its cgroup's the same
    config = std::move(assignment.config);
    for (int* const fd : {&config.kvm_fd, &config.restore.state_fd, &config.restore.memory_fd})
        Fd(std::exchange(*fd, -1)).reset();  // the machine is made
    for (const int target : {STDOUT_FILENO, STDERR_FILENO})
        if (assignment.messages.valid() && ::dup3(assignment.messages.get(), target, 0) < 0)
            return os_error("dup3 the container's log");
    timeline.restart();
    timeline.mark_at("launched", config.launched_ns);
    timeline.mark("assigned");
    if (config.timing) machine.count_from_here();
    outcome.set_record(Fd(config.exit_record_fd));
    return tenant.move_in();
}

/// The machine, its container and its control socket, from confinement to the exit record and the
/// process's end. Returns only if something can't be set up.
Status run(MonitorConfig& config, Timeline& timeline, Outcome& outcome) {
    Gate gate;
    const auto loop = make_event_loop();
    TRY_ASSIGN(const auto machine, Machine::create(*loop, config, timeline));
    const bool stands_by = config.standby_fd >= 0;
    Tenant tenant(*loop, config, *machine, timeline, [&](ExitRecord record) {
        machine->stop();
        if (!stands_by) timeline.mark_at("first_run", machine->first_run_ns());
        timeline.mark("machine_stopped");
        record.marks = timeline.marks();
        outcome.write(record);
        loop->stop();
    });
    TRY(machine->listen_agent([&](Fd fd) { return tenant.attach_agent(std::move(fd)); }));
    std::optional<Standby> standby;
    if (stands_by) {
        standby.emplace(*loop, Fd(config.standby_fd), [&](Assignment assignment) {
            return take_in(std::move(assignment), config, *machine, timeline, outcome, tenant);
        });
    } else {
        TRY(tenant.move_in());
    }

    Machine::ThreadHooks hooks;
    hooks.on_block = [] { return confine::install(confine::Role::kBlock); };
    hooks.on_vcpu = [&]() -> Status {
        TRY(confine::install(confine::Role::kVcpu));
        return gate.wait();
    };
    Status confined = machine->start(std::move(hooks), [&](const Stop& stop) {
        if (!tenant.machine_stopped(to_string(stop.reason), machine->explain(stop))) ::_exit(1);
    });
    if (confined) confined = confine::install(confine::Role::kMain);
    gate.open(confined.has_value());
    TRY(confined);
    timeline.mark("confined");
    ::malloc_trim(0);  // what making the machine took, a snapshot's state above all
    loop->run();
    // Everything durable is durable by now; destroying a machine page by page would only take time.
    ::_exit(outcome.status());
}

Result<MonitorConfig> read_config(int fd) {
    const Fd file(fd);
    TRY_ASSIGN(const std::string text, read_all(file.get(), kMaxConfigBytes));
    return parse_monitor_config(text);
}

int main_program(int argc, char** argv) {
    set_log_program("drupe-vmm");
    // Hundreds of these processes run: none keeps what it has used once, nor an arena a thread.
    ::mallopt(M_ARENA_MAX, 1);
    ::mallopt(M_MMAP_THRESHOLD, kLargeAllocation);
    std::signal(SIGPIPE, SIG_IGN);
    std::signal(SIGCHLD, SIG_IGN);  // a snapshot's writer needn't be waited for
    Timeline timeline;
    timeline.mark("main");
    Outcome outcome;

    int config_fd = -1;
    if (argc == 3 && std::strcmp(argv[1], "--config-fd") == 0)
        std::from_chars(argv[2], argv[2] + std::strlen(argv[2]), config_fd);
    if (config_fd < 0) {
        const bool help = argc == 2 && std::strcmp(argv[1], "--help") == 0;
        std::fputs(kUsage, help ? stdout : stderr);
        return help ? 0 : kUsageError;
    }
    auto config = read_config(config_fd);
    if (!config) return outcome.fail(config.error(), timeline);
    outcome.set_record(Fd(config.value().exit_record_fd));
    timeline.mark_at("launched", config.value().launched_ns);
    timeline.mark("configured");
    return outcome.fail(run(config.value(), timeline, outcome).error(), timeline);
}

}  // namespace
}  // namespace drupe

int main(int argc, char** argv) {
    return drupe::main_program(argc, argv);
}
