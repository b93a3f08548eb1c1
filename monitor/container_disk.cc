// How a running container's root disk is taken from it and given back, so that its top can be
// sealed.
#include <cerrno>
#include <utility>

#include "base/log.h"
#include "monitor/container.h"

namespace drupe {
namespace {

control::Reply reply_to(const Status& status, bool consistent) {
    control::Reply reply;
    if (!status) {
        reply.error = status.error().message;
        reply.os_error = status.error().os_errno;
    }
    reply.consistent = status && consistent;
    return reply;
}

}  // namespace

void Container::do_release_disk(const control::Request& request,
                                const ControlServer::Answer& answer) {
    if (state_ != State::kRunning)
        return answer(
            reply_to(Error{ErrorCode::kConflict, "the container isn't running", ESRCH}, false));
    if (root_disk_ != RootDisk::kAttached)
        return answer(reply_to(
            Error{ErrorCode::kConflict, "the root disk is being released or replaced already"},
            false));
    if (request.freeze && pause_ != Pause::kNone)
        return answer(
            reply_to(Error{ErrorCode::kConflict, "a paused guest can't freeze its root"}, false));
    root_disk_ = RootDisk::kReleasing;
    if (!request.freeze) return release_disk(false, answer);
    freeze([this, answer](bool frozen) { release_disk(frozen, answer); });
}

/// What the guest has written is on its root disk then.
void Container::freeze(const std::function<void(bool frozen)>& done) {
    const auto limit_ms = static_cast<uint32_t>(
        std::chrono::duration_cast<std::chrono::milliseconds>(kFreezeLimit).count());
    const auto ordered =
        agent_->order(protocol::Freeze{limit_ms}, kOrderLimit, [done](const Status& frozen) {
            if (!frozen)
                log(LogLevel::kWarn, "the guest can't freeze its root: {}", frozen.error().message);
            done(frozen.has_value());
        });
    if (!ordered) done(false);
}

void Container::release_disk(bool frozen, const ControlServer::Answer& answer) {
    host_.release_root_disk([this, frozen, answer](const Status& released) {
        if (released) {
            root_disk_ = RootDisk::kReleased;
            root_frozen_ = frozen;
            return answer(reply_to(released, frozen));
        }
        root_disk_ = RootDisk::kAttached;
        thaw(frozen, [answer, released](bool) { answer(reply_to(released, false)); });
    });
}

void Container::do_replace_disk(control::Request request, const ControlServer::Answer& answer) {
    if (root_disk_ != RootDisk::kReleased)
        return answer(
            reply_to(Error{ErrorCode::kConflict, "the root disk hasn't been released"}, false));
    root_disk_ = RootDisk::kReplacing;
    host_.replace_root_disk(std::move(request.disk), [this, answer](const Status& replaced) {
        // Still released after a failure: whoever asked may try again.
        root_disk_ = replaced ? RootDisk::kAttached : RootDisk::kReleased;
        if (!replaced) return answer(reply_to(replaced, false));
        if (pause_ == Pause::kSnapshot)
            return go_on_after_snapshot([answer] { answer(reply_to(ok(), false)); });
        thaw(std::exchange(root_frozen_, false),
             [answer](bool consistent) { answer(reply_to(ok(), consistent)); });
    });
}

/// Says whether the root was frozen up to now.
void Container::thaw(bool frozen, const std::function<void(bool consistent)>& done) {
    if (!frozen) return done(false);
    const auto ordered = agent_->order(protocol::Thaw{}, kOrderLimit,
                                       [done](const Status& thawed) { done(thawed.has_value()); });
    if (!ordered) done(false);
}

}  // namespace drupe
