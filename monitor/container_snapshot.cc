// A running container's machine as a snapshot, and a machine that goes on from one.
#include <cerrno>
#include <csignal>
#include <utility>

#include "base/codec.h"
#include "base/log.h"
#include "monitor/container.h"
#include "monitor/snapshot_refused.h"

namespace drupe {
namespace {

constexpr uint32_t kCannotStart = 125;
/// What an application does when it finds itself in a copy: as root, in the names' order, beside
/// the workload, which goes on. An image without a shell has no hooks.
constexpr const char* kHooksFolder = "/etc/drupe/on-fork.d";
constexpr const char* kHooks =
    "for hook in /etc/drupe/on-fork.d/*; do [ ! -x \"$hook\" ] || \"$hook\"; done";

/// What the container of a snapshot tells the one that goes on (docs/formats/snapshot.md).
struct Handover {
    Session::Offsets workload;
    std::vector<uint32_t> execs;
};

std::string encode(const Handover& state) {
    Encoder out;
    out.put(state.workload.out);
    out.put(state.workload.err);
    out.put(static_cast<uint32_t>(state.execs.size()));
    for (const uint32_t id : state.execs) out.put(id);
    return out.take();
}

Result<Handover> decode(std::string_view bytes) {
    Decoder in(bytes);
    Handover state;
    state.workload.out = in.get<uint64_t>();
    state.workload.err = in.get<uint64_t>();
    state.execs.resize(in.get_count(protocol::kMaxSessions, sizeof(uint32_t)));
    for (uint32_t& id : state.execs) id = in.get<uint32_t>();
    if (!in.at_end())
        return Error{ErrorCode::kCorrupt, "section container: it is cut short, or too long"};
    return state;
}

control::Reply reply_to(const Status& status) {
    control::Reply reply;
    if (status) return reply;
    reply.error = status.error().message;
    reply.os_error = status.error().os_errno;
    return reply;
}

}  // namespace

void Container::do_snapshot(control::Request request, const ControlServer::Answer& answer) {
    const auto refuse = [&](const char* why, int os_errno) {
        answer(reply_to(Error{ErrorCode::kConflict, why, os_errno}));
    };
    if (state_ != State::kRunning || sessions_[protocol::kWorkloadSession]->has_exited())
        return refuse("the container isn't running", ESRCH);
    if (pause_ != Pause::kNone) return refuse("the container is paused: unpause it first", EBUSY);
    if (root_disk_ != RootDisk::kAttached)
        return refuse("its root disk is being committed: try again", EBUSY);
    if (saving_ == Saving::kWrites)
        return refuse("another snapshot is being written: try again", EBUSY);
    pause_ = Pause::kSnapshot;
    root_disk_ = RootDisk::kReleasing;
    auto files = std::make_shared<control::Snapshot>(std::move(request.snapshot));
    const auto stop = [this, files, answer] {
        if (state_ == State::kRunning && !sessions_[protocol::kWorkloadSession]->has_exited())
            return stop_and_save(std::move(*files), answer);
        // It ended just before it was to stand still, and its guest goes on to its own end.
        root_disk_ = RootDisk::kAttached;
        pause_ = Pause::kNone;
        (void)agent_->order(protocol::Suspend{false}, kOrderLimit, [](const Status&) {});
        answer(reply_to(Error{ErrorCode::kConflict, "the container isn't running", ESRCH}));
    };
    const auto ordered =
        agent_->order(protocol::Suspend{true}, kOrderLimit,
                      [this, stop, flush = request.flush, answer](const Status& suspended) {
                          if (suspended && !flush) return stop();
                          if (suspended) {
                              return freeze([this, stop](bool frozen) {
                                  thaw(frozen, [stop](bool) { stop(); });
                              });
                          }
                          root_disk_ = RootDisk::kAttached;
                          pause_ = Pause::kNone;
                          answer(reply_to(suspended));
                      });
    if (ordered) return;
    root_disk_ = RootDisk::kAttached;
    pause_ = Pause::kNone;
    answer(reply_to(ordered));
}

/// The vCPUs, then the disk, then the rest.
void Container::stop_and_save(control::Snapshot files, const ControlServer::Answer& answer) {
    agent_->hold(true);
    auto kept = std::make_shared<control::Snapshot>(std::move(files));
    const auto undo = [this, answer](const Status& why) {
        root_disk_ = RootDisk::kAttached;
        go_on_after_snapshot([answer, why] { answer(reply_to(why)); });
    };
    host_.pause([this, kept, answer, undo](const Status& paused) {
        if (!paused) return undo(paused);
        host_.release_root_disk([this, kept, answer, undo](const Status& released) {
            if (!released) return undo(released);
            const auto captured = [this, answer](const Status& status) {
                root_disk_ = RootDisk::kReleased;
                if (status) saving_ = Saving::kWrites;
                answer(reply_to(status));
            };
            host_.save(std::move(*kept), describe_state(),
                       {captured, [this](const Status& status) { on_written(status); }});
        });
    });
}

void Container::do_saved(const ControlServer::Answer& answer) {
    if (saving_ == Saving::kWrites) {
        if (pause_ == Pause::kSnapshot) host_.write_now();  // it isn't to go on before
        return add_waiter(savers_, answer);
    }
    if (saving_ == Saving::kDone) return answer(reply_to(saved_));
    answer(reply_to(Error{ErrorCode::kNotFound, "no snapshot was taken", ENOENT}));
}

void Container::on_written(const Status& status) {
    saving_ = Saving::kDone;
    saved_ = status;
    for (const auto& saver : std::exchange(savers_, {})) saver(reply_to(saved_));
}

/// Its disk is back.
void Container::go_on_after_snapshot(const std::function<void()>& done) {
    resume_machine();
    const auto ordered =
        agent_->order(protocol::Suspend{false}, kOrderLimit, [done](const Status& status) {
            if (!status) log(LogLevel::kWarn, "go on after a snapshot: {}", status.error().message);
            done();
        });
    if (!ordered) done();  // the guest is lost, and its container ends
}

std::string Container::describe_state() const {
    Handover state;
    for (const auto& [id, session] : sessions_) {
        if (id == protocol::kWorkloadSession) {
            state.workload = session->offsets();
        } else {
            state.execs.push_back(id);
        }
    }
    return encode(state);
}

/// In the place of a start: the guest runs a workload, which stands still until this machine is
/// somebody of its own. Programs beside it, whose clients are the other machine's, are killed.
void Container::adopt() {
    const auto state = decode(host_.container_state());
    if (!state) {
        return end("vmm-error", kCannotStart, Error(state.error()).wrap(kSnapshotRefused).message);
    }
    const auto ignore = [](const Status&) {};
    agent_->expect_session(protocol::kWorkloadSession);
    order(identity_now(), "take its identity");
    for (const uint32_t id : state.value().execs) {
        agent_->expect_session(id);
        next_session_ = std::max(next_session_, id + 1);
        (void)agent_->order(protocol::Signal{id, SIGKILL, true}, kOrderLimit, ignore);
    }
    const auto ordered = agent_->order(protocol::Suspend{false}, kOrderLimit,
                                       [this, offsets = state.value().workload](
                                           const Status& status) { on_adopted(status, offsets); });
    if (!ordered) end("vmm-error", kCannotStart, ordered.error().message);
}

void Container::on_adopted(const Status& status, Session::Offsets offsets) {
    if (state_ != State::kStarting) return;
    if (!status && status.error().code == ErrorCode::kCorrupt) return on_lost(status.error());
    if (!status) return end("not-started", kCannotStart, status.error().message);
    workload_runs(offsets);
    if (state_ == State::kRunning) run_hooks();
}

/// Nobody waits for them; drupe-init forgets them when they have ended (on_exited()). Most
/// containers have none: a shell that finds that out would cost each idle copy half a megabyte.
void Container::run_hooks() {
    protocol::Start hooks;
    hooks.session = next_session_++;
    hooks.argv = {"/bin/sh", "-c", kHooks};
    hooks.env = config_.workload.env;
    hooks.only_with = kHooksFolder;
    const auto ordered = agent_->order(hooks, kOrderLimit, [](const Status&) {});
    if (!ordered) log(LogLevel::kWarn, "on-fork hooks: {}", ordered.error().message);
}

}  // namespace drupe
