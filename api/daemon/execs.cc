#include "api/daemon/execs.h"

#include <algorithm>

#include "api/engine/names.h"

namespace drupe::daemon {

Result<ExecState> Execs::add(ExecConfig config) {
    ExecState state;
    TRY_ASSIGN(state.id, engine::random_id());
    state.config = std::move(config);
    const MutexLock lock(mutex_);
    if (execs_.size() >= kMax) {
        const auto idle = std::find_if(order_.begin(), order_.end(),
                                       [&](const std::string& id)
                                           DRUPE_REQUIRES(mutex_) { return !execs_[id].running; });
        if (idle == order_.end()) {
            return Error{ErrorCode::kLimit, "too many programs run in containers"};
        }
        execs_.erase(*idle);
        order_.erase(idle);
    }
    execs_[state.id] = state;
    order_.push_back(state.id);
    return state;
}

Result<ExecState> Execs::find(const std::string& id) const {
    const MutexLock lock(mutex_);
    const auto found = execs_.find(id);
    if (found == execs_.end()) {
        return Error{ErrorCode::kNotFound, "No such exec instance: " + id.substr(0, 128)};
    }
    return found->second;
}

Result<ExecState> Execs::begin(const std::string& id) {
    const MutexLock lock(mutex_);
    const auto found = execs_.find(id);
    if (found == execs_.end()) {
        return Error{ErrorCode::kNotFound, "No such exec instance: " + id.substr(0, 128)};
    }
    if (found->second.started) {
        return Error{ErrorCode::kConflict,
                     "exec instance " + id + " was started before: make another one"};
    }
    found->second.started = true;
    return found->second;
}

void Execs::runs(const std::string& id, uint32_t session) {
    const MutexLock lock(mutex_);
    const auto found = execs_.find(id);
    if (found == execs_.end()) return;
    found->second.running = true;
    found->second.session = session;
}

void Execs::ended(const std::string& id, uint32_t exit_code) {
    const MutexLock lock(mutex_);
    const auto found = execs_.find(id);
    if (found == execs_.end()) return;
    found->second.running = false;
    found->second.exit_code = exit_code;
}

std::vector<std::string> Execs::of_container(const std::string& container) const {
    const MutexLock lock(mutex_);
    std::vector<std::string> ids;
    for (const auto& [id, state] : execs_) {
        if (state.running && state.config.container == container) ids.push_back(id);
    }
    return ids;
}

void Execs::drop_container(const std::string& container) {
    const MutexLock lock(mutex_);
    std::erase_if(order_, [&](const std::string& id) DRUPE_REQUIRES(mutex_) {
        const ExecState& state = execs_[id];
        if (state.config.container != container || state.running) return false;
        execs_.erase(id);
        return true;
    });
}

std::string command_line(const ExecConfig& config) {
    std::string text;
    for (const std::string& word : config.argv) text += (text.empty() ? "" : " ") + word;
    return text;
}

}  // namespace drupe::daemon
