// Bringing the rows in line with what is true, after the end of a machine or of a command.

#include <fcntl.h>
#include <fmt/format.h>

#include <cerrno>
#include <filesystem>
#include <set>

#include "api/engine/clock.h"
#include "api/engine/engine.h"
#include "api/engine/machine_size.h"
#include "api/engine/process.h"
#include "base/log.h"

namespace drupe::engine {
namespace {

constexpr size_t kMaxRecordBytes = 256 << 10;
constexpr size_t kMaxErrorBytes = 4096;
constexpr uint32_t kLostExitCode = 255;  // Docker's for "nobody knows"
constexpr int kEndTimeoutMs = 20'000;
constexpr int kLookAgainMs = 100;

/// The record that a monitor left, which may have been taken over by its guest: what is shown of it
/// is cut to size.
ExitRecord read_record(const Result<std::string>& text) {
    ExitRecord lost;
    lost.reason = "monitor-lost";
    lost.status = kLostExitCode;
    lost.error = "the monitor ended without saying how: it was killed, or the host went down";
    if (!text) return lost;
    auto record = parse_exit_record(text.value());
    if (!record) return lost;
    if (record.value().error.size() > kMaxErrorBytes) record.value().error.resize(kMaxErrorBytes);
    return std::move(record).value();
}

bool needs_settling(const Container& c) {
    return c.step != Step::kNone || c.state == State::kRunning || c.state == State::kPaused ||
           c.state == State::kRestarting;
}

}  // namespace

Result<Engine::Locked> Engine::lock_container(std::string_view query) {
    TRY_ASSIGN(const Container found, find(query));
    TRY_ASSIGN(ContainerLock lock, ContainerLock::take(run_dir(found)));
    TRY_ASSIGN(Container row, table_.by_id(found.id));  // another command may have had the lock
    TRY_ASSIGN(auto settled, settle_locked(std::move(row)));
    if (!settled) return Error{ErrorCode::kNotFound, fmt::format("No such container: {}", query)};
    return Locked{*std::move(settled), std::move(lock)};
}

Result<std::optional<Container>> Engine::settle(Container container) {
    if (!needs_settling(container)) return std::optional(std::move(container));
    if (container.step == Step::kNone) {  // the common case needs no lock
        TRY_ASSIGN(const bool lives, monitor_lives(run_dir(container)));
        if (lives) return std::optional(std::move(container));
    }
    TRY_ASSIGN(const auto lock, ContainerLock::try_take(run_dir(container)));
    if (!lock) return std::optional(std::move(container));  // a command is at work on it
    auto now = table_.by_id(container.id);
    if (!now) {
        if (now.error().code != ErrorCode::kNotFound) return std::move(now).error();
        return std::optional<Container>();
    }
    return settle_locked(std::move(now).value());
}

Result<std::optional<Container>> Engine::settle_locked(Container container) {
    TRY_ASSIGN(bool lives, monitor_lives(run_dir(container)));
    if (container.step == Step::kCreating) {
        // Nobody was told of this container: the command that made it was killed.
        if (lives) {
            TRY(force_end(container.id));
        }
        TRY(launcher_.release(container.id));
        TRY(table_.remove(container.id));
        TRY(remove_files(container.id));
        return std::optional<Container>();
    }
    if (container.step == Step::kCopying) {
        TRY(end_for_files(container));
        return std::optional(std::move(container));
    }
    if (container.step == Step::kCommitting) {
        if (lives) {
            TRY_ASSIGN(const bool returned, return_disk(container));
            if (!returned) {  // it would hold up whoever looks at the container, for ever
                TRY(force_end(container.id));
                lives = false;
            } else if (container.state == State::kPaused) {  // it was to go on for the commit only
                const auto paused = order_pause(container.id, true);
                if (!paused) container.state = State::kRunning;
            }
        }
        container.step = Step::kNone;
        TRY(table_.update(container));
    }
    if (lives) {
        if (container.step == Step::kStarting) {
            container.step = Step::kNone;
            container.state = State::kRunning;
            container.started_at_ns = realtime_ns();
            container.pid = 0;
            if (auto client = connect(container.id)) {
                container.pid = peer_pid(client.value().fd());
                container.pid_started = process_start_ticks(container.pid);
            }
            TRY(table_.update(container));
        }
        return std::optional(std::move(container));
    }
    if (container.step == Step::kStarting) {
        const auto record = read_file(options_.paths.exit_record(container.id), kMaxRecordBytes);
        if (!record || record.value().empty()) {  // the monitor never came to live
            container.step = Step::kNone;
            TRY(launcher_.release(container.id));
            TRY(table_.update(container));
            return std::optional(std::move(container));
        }
    } else if (container.state != State::kRunning && container.state != State::kPaused) {
        return std::optional(std::move(container));
    }
    TRY_ASSIGN(Ended ended, end(std::move(container)));
    TRY(launcher_.release(ended.container.id));
    if (!ended.container.config.auto_remove) return std::optional(std::move(ended.container));
    TRY(remove_files(ended.container.id));
    return std::optional<Container>();
}

Result<Ended> Engine::end(Container container) {
    ExitRecord record =
        read_record(read_file(options_.paths.exit_record(container.id), kMaxRecordBytes));
    const bool never_started = record.reason == "not-started" && container.finished_at_ns == 0;
    container.step = Step::kNone;
    container.state = never_started ? State::kCreated : State::kExited;
    container.pid = 0;
    container.pid_started = 0;
    container.exit_code = record.status;
    container.oom_killed = record.oom_killed;
    container.reason = record.reason;
    container.error = record.reason == "killed" ? "" : record.error;  // which is what was asked for
    if (record.started_at_ns != 0) container.started_at_ns = record.started_at_ns;
    if (never_started) {
        container.started_at_ns = 0;
    } else {
        container.finished_at_ns =
            record.finished_at_ns != 0 ? record.finished_at_ns : realtime_ns();
    }
    if (container.config.auto_remove) {
        TRY(table_.remove(container.id));
    } else {
        TRY(table_.update(container));
    }
    step("ended");
    if (record.marks.contains("template_refused")) drop_template(container.config);
    return Ended{std::move(container), std::move(record)};
}

Fd Engine::open_record(const std::string& id) const {
    auto file = open_file(options_.paths.exit_record(id), O_RDONLY);
    return file ? std::move(file).value() : Fd();
}

Result<Ended> Engine::conclude(Machine& machine) {
    if (!machine.ended) {
        if (auto reply = machine.client.receive(machine.wait_id)) {
            machine.ended = std::move(reply).value();
        }
    }
    if (machine.ended && !machine.ended->error.empty()) return refused_wait(*machine.ended);
    if (!machine.ended || !machine.ended->exit) {
        // Its monitor has hung up, or is no monitor any more: its end is what is left to wait for.
        TRY_ASSIGN(const bool gone, await_monitor_end(run_dir(machine.container), kEndTimeoutMs));
        if (!gone) {
            TRY(force_end(machine.container.id));
        }
    }
    TRY_ASSIGN(const auto lock, ContainerLock::take(run_dir(machine.container)));
    auto now = table_.by_id(machine.container.id);
    // The same run, and not a later one.
    if (now && has_machine(now.value().state) && now.value().pid == machine.container.pid &&
        now.value().pid_started == machine.container.pid_started) {
        return end(std::move(now).value());
    }
    if (!now && now.error().code != ErrorCode::kNotFound) return std::move(now).error();
    // Somebody else has written it down already, or removed the container.
    Ended ended{now ? std::move(now).value() : machine.container,
                read_record(read_all(machine.exit_record.get(), kMaxRecordBytes))};
    if (machine.ended && machine.ended->exit) ended.record.status = machine.ended->exit->status;
    ended.container.exit_code = ended.record.status;
    return ended;
}

Status Engine::clean_up(const std::string& id) {
    const std::string folder = options_.paths.run_dir(id);
    const uint64_t until = monotonic_ns() + uint64_t{kEndTimeoutMs} * 1'000'000;
    for (;;) {
        TRY_ASSIGN(const bool gone, await_monitor_end(folder, kLookAgainMs));
        if (gone) break;
        const auto row = table_.by_id(id);
        if (row && (has_machine(row.value().state) || row.value().step != Step::kNone)) {
            return ok();  // it has been started again
        }
        if (monotonic_ns() < until) continue;
        TRY(force_end(id));
        break;
    }
    TRY_ASSIGN(const auto lock, ContainerLock::take(folder));
    TRY_ASSIGN(const bool lives, monitor_lives(folder));
    if (lives) return ok();  // it has been started again
    TRY(launcher_.release(id));
    const auto row = table_.by_id(id);
    if (!row && row.error().code == ErrorCode::kNotFound) {
        TRY(remove_files(id));
    }
    table_.checkpoint();
    return ok();
}

/// It will be made anew.
void Engine::drop_template(const ContainerConfig& config) const {
    const auto size = machine_size(config.memory_bytes, config.nano_cpus);
    if (!size) return;
    const auto removed = templates_.remove({size.value().ram_bytes, size.value().vcpus});
    if (!removed) log(LogLevel::kWarn, "remove a template: {}", removed.error().message);
}

Result<std::vector<Container>> Engine::list() {
    TRY_ASSIGN(std::vector<Container> rows, table_.all());
    std::vector<Container> settled;
    settled.reserve(rows.size());
    for (Container& row : rows) {
        if (!needs_settling(row)) {
            settled.push_back(std::move(row));
            continue;
        }
        auto now = settle(row);
        if (!now) {  // one that is stuck must not hide the others
            log(LogLevel::kWarn, "container {}: {}", short_id(row.id), now.error().message);
            settled.push_back(std::move(row));
        } else if (now.value()) {
            settled.push_back(*std::move(now).value());
        }
    }
    return settled;
}

Result<std::vector<Container>> Engine::sweep() {
    std::error_code error;
    std::set<std::string> leftovers;
    for (const std::string& parent :
         {options_.paths.root + "/containers", options_.paths.run + "/vm"}) {
        for (const auto& entry : std::filesystem::directory_iterator(parent, error)) {
            const std::string name = entry.path().filename();
            if (name.size() == kIdDigits) leftovers.insert(name);
        }
    }
    if (const auto left = launcher_.leftovers()) {
        leftovers.insert(left.value().begin(), left.value().end());
    } else {
        log(LogLevel::kWarn, "look for what machines left: {}", left.error().message);
    }
    TRY_ASSIGN(std::vector<Container> containers, list());
    for (const Container& container : containers) leftovers.erase(container.id);
    for (const std::string& id : leftovers) {
        const auto swept = sweep_folder(id);
        if (swept || swept.error().os_errno == EBUSY) continue;  // busy: somebody's, not a leftover
        log(LogLevel::kWarn, "remove what is left of container {}: {}", short_id(id),
            swept.error().message);
    }
    for (const Status& swept : {sweep_saved(), templates_.sweep()}) {
        if (!swept) log(LogLevel::kWarn, "remove what is left over: {}", swept.error().message);
    }
    return containers;
}

Status Engine::sweep_folder(const std::string& id) {
    const auto row = table_.by_id(id);
    if (row || row.error().code != ErrorCode::kNotFound) return ok();
    TRY_ASSIGN(const auto lock, ContainerLock::try_take(options_.paths.run_dir(id)));
    if (!lock) return ok();
    const auto again = table_.by_id(id);
    if (again || again.error().code != ErrorCode::kNotFound) return ok();
    TRY_ASSIGN(const bool lives, monitor_lives(options_.paths.run_dir(id)));
    if (lives) {
        TRY(force_end(id));
    }
    TRY(launcher_.release(id));
    return remove_files(id);
}

}  // namespace drupe::engine
