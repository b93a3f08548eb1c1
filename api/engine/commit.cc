// Making an image of a container.
#include <fmt/format.h>

#include <functional>
#include <thread>

#include "api/engine/clock.h"
#include "api/engine/engine.h"
#include "base/log.h"

namespace drupe::engine {
namespace {

using std::chrono::milliseconds;

/// The guest writes out what it has not yet; a slow disk takes its time.
constexpr milliseconds kReleaseTimeout{120'000};
constexpr milliseconds kReplaceTimeout{60'000};
constexpr milliseconds kStatusTimeout{120'000};  // on a busy host
constexpr milliseconds kPollMachine{5};

/// Asks until it is so.
Result<control::MachineStatus> await_machine(
    ControlClient& client, const std::function<bool(const control::MachineStatus&)>& is_so) {
    const uint64_t until =
        monotonic_ns() + static_cast<uint64_t>(std::chrono::nanoseconds(kReleaseTimeout).count());
    for (;;) {
        control::Request ask;
        ask.op = control::Op::kStatus;
        TRY_ASSIGN(const auto reply, client.call(std::move(ask), kStatusTimeout));
        if (!reply.machine) {
            return Error{ErrorCode::kCorrupt, "the monitor answered without its status"};
        }
        if (is_so(*reply.machine)) return *reply.machine;
        if (monotonic_ns() > until) {
            return Error{ErrorCode::kConflict,
                         "the machine is busy: it is " + reply.machine->state};
        }
        std::this_thread::sleep_for(kPollMachine);
    }
}

}  // namespace

control::Request replace_disk_with(imagefs::DiskFiles files) {
    control::Request request;
    request.op = control::Op::kReplaceDisk;
    request.disk.index = std::move(files.index);
    request.disk.layers = std::move(files.layers);
    request.disk.top_data = std::move(files.top_data);
    request.disk.top_meta = std::move(files.top_meta);
    return request;
}

// The row's step says that the machine may be without its disk: whoever finds it after a crash
// gives back what open_top() says is the container's then, the old top or the new one.
Result<Committed> Engine::commit(std::string_view query, const CommitRequest& request) {
    TRY(images_.check_name(request.reference));
    TRY_ASSIGN(const Locked held, lock_container(query));
    const Container& container = held.container;
    if (container.config.read_only) {
        return Error{ErrorCode::kConflict,
                     fmt::format("container {} has a read-only root: it has changed nothing that "
                                 "could be committed; tag its image instead",
                                 query)};
    }
    TRY_ASSIGN(const std::string parent, images_.image_config(container.image_id));
    const uint64_t now_ns = realtime_ns();
    const auto make_config = [&](std::string_view diff_id) {
        return commit_config(parent, container, request.words, diff_id, now_ns);
    };
    TRY(make_config(""));  // what is wrong with the changes is said before anything is done

    Committed out;
    out.marks["begun"] = monotonic_ns();
    SealedDisk sealed;
    const SavedMachines lives(options_.paths.snapshots_dir());
    SavedMachines::New memory;
    if (request.live) {
        TRY(check_can_be_saved(container, query));
        TRY_ASSIGN(memory, lives.begin());
        auto done = snapshot(container, memory.files, {.disk_alone = true}, out.marks);
        if (!done) return ended_meanwhile(container, done.error());
        sealed = std::move(done).value();
    } else if (container.state == State::kRunning || container.state == State::kPaused) {
        auto done = seal_running(container, request.pause, out);
        if (!done) return ended_meanwhile(container, done.error());
        sealed = std::move(done).value();
    } else {
        TRY_ASSIGN(sealed, images_.seal_top(container.id));
        out.consistent = !sealed.needs_replay;
        out.marks["sealed"] = monotonic_ns();
    }
    sealed.files = {};
    TRY_ASSIGN(out.image_id, images_.put_image(sealed, request.reference, make_config));
    if (request.live) {
        TRY(keep(container, sealed, memory, {}, out.image_id));
    }
    out.marks["recorded"] = monotonic_ns();
    step("committed");
    return out;
}

Result<SealedDisk> Engine::seal(std::string_view query) {
    TRY_ASSIGN(const Locked held, lock_container(query));
    const Container& container = held.container;
    if (container.state != State::kRunning) {
        return Error{ErrorCode::kConflict, fmt::format("container {} {}", query,
                                                       refusal(container.state, Command::kExec))};
    }
    Committed unused;
    TRY_ASSIGN(SealedDisk sealed, seal_running(container, true, unused));
    sealed.files = {};
    return sealed;
}

Result<SealedDisk> Engine::seal_running(const Container& container, bool pause, Committed& out) {
    TRY_ASSIGN(ControlClient client, connect(container.id));
    // One that has just been started boots still.
    TRY(await_machine(client, [](const control::MachineStatus& machine) {
        return machine.state == "running" || machine.state == "stopping";
    }));
    Container row = container;
    row.step = Step::kCommitting;
    TRY(table_.update(row));
    step("committing");
    const bool paused = container.state == State::kPaused && pause;
    if (paused) {
        TRY(order_pause(container.id, false));
    }
    const auto pause_again = [&] {
        if (paused) static_cast<void>(order_pause(container.id, true));  // unless it has ended
    };
    control::Request release;
    release.op = control::Op::kReleaseDisk;
    release.freeze = pause;
    const auto released = client.call(std::move(release), kReleaseTimeout);
    out.marks["released"] = monotonic_ns();
    step("released");
    if (!released) {
        pause_again();
        TRY(table_.update(container));
        return Error(released.error()).wrap("the machine didn't let go of its disk");
    }
    auto sealed = images_.seal_top(container.id);
    out.marks["sealed"] = monotonic_ns();
    step("sealed");
    TRY_ASSIGN(auto files, disk_after(sealed, container));
    const auto replaced = client.call(replace_disk_with(std::move(files)), kReplaceTimeout);
    out.marks["replaced"] = monotonic_ns();
    if (!replaced) {
        // One that has ended meanwhile needs none; settle() sees to the row.
        TRY_ASSIGN(const bool lives, monitor_lives(run_dir(container)));
        if (lives) return Error(replaced.error()).wrap("the machine didn't take its disk back");
        out.consistent = released.value().consistent;
        return sealed;
    }
    step("replaced");
    pause_again();
    TRY(table_.update(container));
    out.consistent = replaced.value().consistent;
    return sealed;
}

Result<imagefs::DiskFiles> Engine::disk_after(Result<SealedDisk>& sealed,
                                              const Container& container) {
    if (sealed) return std::move(sealed.value().files);
    return images_.open_top(container.id);
}

Result<bool> Engine::return_disk(const Container& container) {
    const auto refused = [&](const Error& error) {
        log(LogLevel::kWarn, "container {}: give back its disk: {}", short_id(container.id),
            error.message);
        return false;
    };
    auto client = connect(container.id);
    if (!client) return refused(client.error());
    // What the command ordered before it died may be under way still.
    const auto machine =
        await_machine(client.value(), [](const auto& status) { return !status.disk_moves; });
    if (!machine) return refused(machine.error());
    if (!machine.value().disk_released) return true;
    TRY_ASSIGN(auto files, images_.open_top(container.id));
    const auto taken = client.value().call(replace_disk_with(std::move(files)), kReplaceTimeout);
    if (!taken) return refused(taken.error());
    log(LogLevel::kWarn, "container {}: a commit was cut short; its disk is back",
        short_id(container.id));
    return true;
}

}  // namespace drupe::engine
