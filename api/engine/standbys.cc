#include "api/engine/standbys.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <system_error>
#include <tuple>
#include <utility>

#include "api/engine/clock.h"
#include "api/engine/paths.h"
#include "base/log.h"
#include "monitor/assignment.h"

namespace drupe::engine {
namespace {

constexpr unsigned kFolderMode = 0700;
constexpr mode_t kFileMode = 0600;
constexpr off_t kMaxMessagesBytes = 64 << 10;
constexpr int kConfirmLimitMs = 10'000;
constexpr uint64_t kNever = UINT64_MAX;

/// Another open file of what a descriptor has open: its offset is its own.
Result<Fd> reopen(int fd, int flags) {
    return open_file("/proc/self/fd/" + std::to_string(fd), flags);
}

/// What all of them have to say, the latest of it.
Result<Fd> open_messages(const std::string& path) {
    TRY_ASSIGN(Fd file, open_file(path, O_WRONLY | O_CREAT | O_APPEND, kFileMode));
    struct stat s {};
    if (::fstat(file.get(), &s) == 0 && s.st_size > kMaxMessagesBytes &&
        ::ftruncate(file.get(), 0) < 0)
        return os_error("truncate " + path);
    return file;
}

bool goes_on_from_a_template(const MonitorConfig& config) {
    return config.restore.given() && config.kernel_fd >= 0 && config.console_fd < 0 &&
           !config.save.given();
}

}  // namespace

/// What a machine has to have in common with the start that takes it.
struct Standbys::Shape {
    uint64_t memory_bytes = 0;
    uint32_t vcpus = 0;
    uint64_t memory_max_bytes = 0;
    dev_t device = 0;  // of the template's state file
    ino_t inode = 0;
    std::string program;
    Fd kvm;
    Fd state;
    Fd memory;

    [[nodiscard]] auto key() const {
        return std::tie(memory_bytes, vcpus, memory_max_bytes, device, inode, program);
    }

    [[nodiscard]] static std::optional<Shape> of(const LaunchSpec& spec) {
        struct stat s {};
        if (!goes_on_from_a_template(spec.config) || ::fstat(spec.config.restore.state_fd, &s) < 0)
            return std::nullopt;
        Shape shape;
        shape.memory_bytes = spec.config.memory_bytes;
        shape.vcpus = spec.config.vcpus;
        shape.memory_max_bytes = spec.memory_max_bytes;
        shape.device = s.st_dev;
        shape.inode = s.st_ino;
        shape.program = spec.program;
        return shape;
    }
    [[nodiscard]] Status open(const MonitorConfig& config) {
        TRY_ASSIGN(kvm, reopen(config.kvm_fd, O_RDWR));
        TRY_ASSIGN(state, reopen(config.restore.state_fd, O_RDONLY));
        TRY_ASSIGN(memory, reopen(config.restore.memory_fd, O_RDONLY));
        return ok();
    }
};

/// What the worker does next, without the lock.
struct Standbys::Job {
    std::shared_ptr<const Shape> make;
    std::list<Machine> end;
    bool last = false;
};

Standbys::Standbys(Options options, std::unique_ptr<MonitorLauncher> launcher)
    : options_(std::move(options)),
      launcher_(std::move(launcher)),
      next_uid_(static_cast<uint32_t>(monotonic_ns() % kUids)) {}

Standbys::~Standbys() {
    {
        const MutexLock lock(mutex_);
        ends_ = true;
        changed_.notify_all();
    }
    if (worker_.joinable()) worker_.join();
}

std::optional<Standbys::Machine> Standbys::take(const LaunchSpec& spec) {
    const auto shape = Shape::of(spec);
    if (!shape) return std::nullopt;
    const MutexLock lock(mutex_);
    const auto found = std::ranges::find_if(
        waiting_, [&](const Machine& machine) { return machine.shape->key() == shape->key(); });
    if (found == waiting_.end()) return std::nullopt;
    std::optional<Machine> machine(std::move(*found));
    waiting_.erase(found);
    return machine;
}

Status Standbys::hand_over(const Machine& machine, const LaunchSpec& spec) {
    if (spec.cpu_percent != 0) {
        TRY(launcher_->limit_cpu(machine.name, spec.cpu_percent));
    }
    TRY(send_assignment(machine.socket.get(), spec.config, spec.log_fd));
    TRY(await_confirmation(machine.socket.get(), kConfirmLimitMs));
    forget(machine.name);
    return ok();
}

void Standbys::end(const Machine& machine) {
    auto ended = launcher_->kill_all(machine.name);
    if (ended) ended = launcher_->release(machine.name);
    if (!ended) log(LogLevel::kWarn, "{}: {}", machine.name, ended.error().message);
    forget(machine.name);
}

void Standbys::forget(const std::string& name) {
    const MutexLock lock(mutex_);
    names_.erase(name);
}

std::set<std::string> Standbys::names() const {
    const MutexLock lock(mutex_);
    return names_;
}

void Standbys::want(const LaunchSpec& spec) {
    auto shape = Shape::of(spec);
    if (!shape || options_.for_each_shape == 0) return;
    const MutexLock lock(mutex_);
    last_start_ns_ = monotonic_ns();
    refused_ = false;
    const auto known = std::ranges::find_if(
        shapes_, [&](const auto& other) { return other->key() == shape->key(); });
    if (known != shapes_.end()) {
        shapes_.splice(shapes_.begin(), shapes_, known);
    } else {
        if (auto opened = shape->open(spec.config); !opened) {
            log(LogLevel::kWarn, "standby: {}", opened.error().message);
            return;
        }
        shapes_.push_front(std::make_shared<const Shape>(*std::move(shape)));
        if (shapes_.size() > kMaxShapes) shapes_.pop_back();
    }
    changed_.notify_all();
    if (worker_.joinable()) return;
    try {
        worker_ = std::thread([this] { work(); });
    } catch (const std::system_error& error) {  // the next start asks again
        log(LogLevel::kWarn, "no thread to keep machines waiting: {}", error.what());
    }
}

void Standbys::work() {
    for (;;) {
        const Job job = next_job();
        for (const Machine& machine : job.end) end(machine);
        if (job.last) return;
        if (!job.make) continue;
        if (auto made = make(job.make); !made) {
            log(LogLevel::kWarn, "make a machine that waits: {}", made.error().message);
            const MutexLock lock(mutex_);
            refused_ = true;
        }
    }
}

size_t Standbys::count(const Shape& shape) const {
    return static_cast<size_t>(std::ranges::count_if(
        waiting_, [&](const Machine& machine) { return machine.shape->key() == shape.key(); }));
}

void Standbys::wait_until(uint64_t ns) {
    const uint64_t now = monotonic_ns();
    if (ns == kNever)
        changed_.wait(mutex_);
    else if (ns > now)
        changed_.wait_for(mutex_, std::chrono::nanoseconds(ns - now));
}

/// Waits until there is one.
Standbys::Job Standbys::next_job() {
    Job job;
    const MutexLock lock(mutex_);
    for (;;) {
        const uint64_t now = monotonic_ns();
        const uint64_t stale = waiting_.empty() ? kNever : last_start_ns_ + kIdleNs;
        job.last = ends_;
        if (ends_ || now >= stale) {
            shapes_.clear();
            job.end.swap(waiting_);
            return job;
        }
        // Those of a shape that isn't started any more.
        for (auto it = waiting_.begin(); it != waiting_.end();) {
            const auto next = std::next(it);
            if (std::ranges::none_of(
                    shapes_, [&](const auto& shape) { return shape->key() == it->shape->key(); }))
                job.end.splice(job.end.end(), waiting_, it);
            it = next;
        }
        if (!job.end.empty()) return job;
        auto wanted = shapes_.begin();
        while (wanted != shapes_.end() && count(**wanted) >= options_.for_each_shape) ++wanted;
        const uint64_t due = last_start_ns_ + options_.rest_ns;
        if (wanted == shapes_.end() || refused_) {
            wait_until(stale);
        } else if (now < due) {
            wait_until(due);
        } else {
            job.make = *wanted;
            return job;
        }
    }
}

Status Standbys::make(const std::shared_ptr<const Shape>& shape) {
    TRY_ASSIGN(const uint32_t uid, take_uid());
    auto machine = start(shape, uid);
    if (!machine) {
        forget("standby-" + std::to_string(uid));
        return std::move(machine).error();
    }
    const MutexLock lock(mutex_);
    waiting_.push_back(std::move(machine).value());
    return ok();
}

/// One whose cgroup nobody has. Its name is ours before the cgroup is there: whoever looks for what
/// is left over finds it among names().
Result<uint32_t> Standbys::take_uid() {
    TRY_ASSIGN(const auto taken, launcher_->leftovers());
    for (uint32_t i = 0; i < kUids; ++i) {
        const uint32_t uid = kFirstUid + (next_uid_ + i) % kUids;
        const std::string name = "standby-" + std::to_string(uid);
        if (std::ranges::find(taken, name) != taken.end()) continue;
        next_uid_ = uid - kFirstUid + 1;
        const MutexLock lock(mutex_);
        names_.insert(name);
        return uid;
    }
    return Error{ErrorCode::kLimit, "every user for machines that wait is taken"};
}

Result<Standbys::Machine> Standbys::start(const std::shared_ptr<const Shape>& shape,
                                          uint32_t uid) const {
    TRY(make_folders(options_.folder, kFolderMode));
    TRY_ASSIGN(const Fd messages, open_messages(options_.folder + "/messages.log"));
    TRY_ASSIGN(const Fd state, reopen(shape->state.get(), O_RDONLY));
    TRY_ASSIGN(FdPair ends, make_socketpair(SOCK_SEQPACKET));
    Machine machine{shape, "standby-" + std::to_string(uid), -1, std::move(ends.first)};
    LaunchSpec spec;
    spec.program = shape->program;
    spec.uid = uid;
    spec.memory_max_bytes = shape->memory_max_bytes;
    spec.log_fd = messages.get();
    spec.config.id = machine.name;
    spec.config.memory_bytes = shape->memory_bytes;
    spec.config.vcpus = shape->vcpus;
    spec.config.kvm_fd = shape->kvm.get();
    spec.config.restore = {state.get(), shape->memory.get()};
    spec.config.standby_fd = ends.second.get();
    spec.config.launched_ns = monotonic_ns();
    TRY_ASSIGN(machine.pid, launcher_->launch(spec));
    return machine;
}

}  // namespace drupe::engine
