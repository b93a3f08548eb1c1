// A running container's machine that stands still for a while, as docker pause has it.
#include <cerrno>
#include <utility>

#include "base/log.h"
#include "monitor/container.h"

namespace drupe {
namespace {

control::Reply refusal(const char* why, int os_errno) {
    control::Reply reply;
    reply.error = why;
    reply.os_error = os_errno;
    return reply;
}

}  // namespace

void Container::do_pause(const ControlServer::Answer& answer) {
    if (state_ != State::kRunning || sessions_[protocol::kWorkloadSession]->has_exited())
        return answer(refusal("the container isn't running", ESRCH));
    if (pause_ == Pause::kSnapshot)
        return answer(refusal("a snapshot of it is being taken: try again", EBUSY));
    if (pause_ != Pause::kNone) return answer(refusal("the container is paused already", EALREADY));
    if (root_disk_ != RootDisk::kAttached)
        return answer(refusal("its root disk is being committed: try again", EBUSY));
    if (!agent_->ready()) return answer(refusal("its guest is connecting anew: try again", EAGAIN));
    pause_ = Pause::kPausing;
    agent_->hold(true);
    host_.pause([this, answer](const Status& paused) {
        if (paused) {
            pause_ = Pause::kPaused;
            return answer({});
        }
        if (pause_ == Pause::kPausing) {
            pause_ = Pause::kNone;
            agent_->hold(false);
        }
        answer(refusal(paused.error().message.c_str(), paused.error().os_errno));
    });
}

void Container::do_resume(const ControlServer::Answer& answer) {
    if (pause_ == Pause::kNone || pause_ == Pause::kSnapshot)
        return answer(refusal("the container isn't paused", EALREADY));
    resume_machine();
    answer({});
}

void Container::resume_machine() {
    pause_ = Pause::kNone;
    if (auto status = host_.resume(); !status)
        log(LogLevel::kWarn, "resume: {}", status.error().message);  // it has stopped, and says so
    agent_->hold(false);
    if (const auto lost = std::exchange(lost_while_paused_, std::nullopt)) on_lost(*lost);
}

void Container::do_resize(const control::Request& request, const ControlServer::Answer& answer) {
    const protocol::Resize order{request.session, request.rows, request.columns};
    if (pause_ == Pause::kNone) return do_order(order, answer);
    // A guest that stands still hears of it when it goes on.
    const auto status = agent_->order(order, kOrderLimit, [](const Status&) {});
    answer(status ? control::Reply{} : refusal(status.error().message.c_str(), 0));
}

}  // namespace drupe
