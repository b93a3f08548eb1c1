#include "api/daemon/supervisor.h"

#include <algorithm>

#include "api/daemon/container_event.h"
#include "base/log.h"

namespace drupe::daemon {
namespace {

using engine::Container;
using engine::RestartPolicy;
using engine::State;
using std::chrono::milliseconds;

constexpr milliseconds kScanInterval{10'000};  // for machines that others have started
constexpr milliseconds kFirstDelay{100};       // before a restart; doubles each time
constexpr milliseconds kLongestDelay{60'000};
/// What a machine that went on from kept memory needs at first, it has touched by then.
constexpr milliseconds kFirstLook{250};
constexpr unsigned kMaxDoublings = 10;
/// A workload that ran so long is no failing start any more.
constexpr uint64_t kGoodRunNs = 10'000'000'000;

bool wants_restart(const Container& c) {
    const RestartPolicy& policy = c.config.restart;
    if (c.stopped_by_user) return false;
    switch (policy.kind) {
        case RestartPolicy::Kind::kNo:
            return false;
        case RestartPolicy::Kind::kAlways:
        case RestartPolicy::Kind::kUnlessStopped:
            return true;
        case RestartPolicy::Kind::kOnFailure:
            return c.exit_code != 0 && (policy.max_retries == 0 || c.restarts < policy.max_retries);
    }
    return false;
}

milliseconds delay_of(const Container& c) {
    const bool ran_well =
        c.finished_at_ns > c.started_at_ns && c.finished_at_ns - c.started_at_ns >= kGoodRunNs;
    const unsigned doublings = ran_well ? 0 : std::min(c.restarts, kMaxDoublings);
    return std::min(kFirstDelay * (1u << doublings), kLongestDelay);
}

}  // namespace

Supervisor::Supervisor(Parts parts) : parts_(std::move(parts)), loop_(make_event_loop()) {
    thread_ = std::thread([this] { loop_->run(); });
}

Supervisor::~Supervisor() {
    loop_->stop();
    thread_.join();
}

void Supervisor::adopt() {
    scan_job(true);
}

void Supervisor::watch(engine::Machine machine) {
    uint64_t number = 0;
    {
        const MutexLock lock(mutex_);
        number = next_++;
        watched_.insert(machine.container.id);
    }
    parts_.on_started(machine.container);
    auto shared = std::make_shared<engine::Machine>(std::move(machine));
    loop_->post([this, number, shared] {
        const auto [at, added] =
            entries_.emplace(number, Entry{std::move(*shared), nullptr, nullptr});
        Entry& entry = at->second;
        if (entry.machine.ended) {  // while it was started
            loop_->post([this, number] { on_readable(number); });
            return;
        }
        entry.watch =
            loop_->on_readable(entry.machine.client.fd(), [this, number] { on_readable(number); });
        if (!entry.machine.kept.id.empty())
            entry.first_look = loop_->after(kFirstLook, [this, number] { first_look(number); });
    });
}

Supervisor::Claim::Claim(Supervisor& supervisor, std::string id)
    : supervisor_(supervisor), id_(std::move(id)) {
    const MutexLock lock(supervisor_.mutex_);
    supervisor_.watched_.insert(id_);
}

Supervisor::Claim::~Claim() {
    supervisor_.forget(id_);
}

bool Supervisor::is_watched(const std::string& id) const {
    const MutexLock lock(mutex_);
    return watched_.contains(id);
}

void Supervisor::forget(const std::string& id) {
    const MutexLock lock(mutex_);
    if (const auto at = watched_.find(id); at != watched_.end()) watched_.erase(at);
}

void Supervisor::on_readable(uint64_t number) {
    const auto at = entries_.find(number);
    if (at == entries_.end()) return;
    engine::Machine& machine = at->second.machine;
    if (!machine.ended) {
        auto reply = machine.client.receive(machine.wait_id, milliseconds(0));
        if (!reply && reply.error().code == ErrorCode::kLimit) return;  // not the one we wait for
        if (reply) machine.ended = std::move(reply).value();
    }
    at->second.watch.reset();
    auto shared = std::make_shared<engine::Machine>(std::move(machine));
    entries_.erase(at);
    parts_.run_job([this, shared] { end_job(std::move(*shared)); });
}

void Supervisor::first_look(uint64_t number) {
    const auto at = entries_.find(number);
    if (at == entries_.end()) return;
    const engine::Machine& machine = at->second.machine;
    parts_.run_job([this, container = machine.container, memory_id = machine.kept.id] {
        const auto note = [&]() -> Status {
            TRY_ASSIGN(const auto engine, parts_.engines.borrow());
            return engine->note_working_set(container, memory_id);
        };
        if (const Status noted = note(); !noted && noted.error().code != ErrorCode::kNotFound)
            log(LogLevel::kWarn, "container {}: what it needed at first: {}", container.id,
                noted.error().message);
    });
}

void Supervisor::end_job(engine::Machine machine) {
    const std::string id = machine.container.id;
    bool seen = false;
    if (!machine.ended || machine.ended->error.empty()) {  // else its wait was refused
        const auto ended = conclude(std::move(machine));
        if (!ended) log(LogLevel::kWarn, "container {}: {}", id, ended.error().message);
        seen = ended.has_value();
    }
    forget(id);
    if (seen) return;
    const MutexLock lock(mutex_);
    unwatched_.insert(id);  // if it runs still, the next scan tries again
}

Result<engine::Ended> Supervisor::conclude(engine::Machine machine) {
    const std::string id = machine.container.id;
    TRY_ASSIGN(auto engine, parts_.engines.borrow());
    TRY_ASSIGN(engine::Ended ended, engine->conclude(machine));
    const Container& container = ended.container;
    const bool ran = ended.record.reason != "not-started";
    parts_.on_ended(container);
    if (ran) {
        parts_.events.publish(
            container_event(container, "die", {{"exitCode", std::to_string(ended.record.status)}}));
    }
    // Clients take an error for one of the wait's.
    const bool told = ran && ended.record.reason != "killed";
    End end{ended.record.status, told ? ended.record.error : ""};
    if (container.config.timing) {
        end.marks = ended.record.marks;
        end.marks.insert(machine.marks.begin(), machine.marks.end());
        end.counts = ended.record.counts;
    }
    parts_.ends.ended(id, end);
    if (container.config.auto_remove) {
        parts_.events.publish(container_event(container, "destroy"));
        parts_.on_removed(id);
    } else if (ran) {
        consider_restart(container);
    }
    // The rest keeps nobody waiting.
    if (auto cleaned = engine->clean_up(id); !cleaned) {
        log(LogLevel::kWarn, "container {}: {}", id, cleaned.error().message);
    }
    return ended;
}

void Supervisor::consider_restart(const Container& container) {
    if (!wants_restart(container)) return;
    auto engine = parts_.engines.borrow();
    if (!engine) return;
    bool restarting = false;
    const auto noted = engine.value()->amend(container.id, [&](Container& now) {
        restarting = now.state == State::kExited && wants_restart(now);
        if (!restarting) return;
        now.state = State::kRestarting;
        ++now.restarts;
    });
    if (!noted) log(LogLevel::kWarn, "container {}: {}", container.id, noted.error().message);
    if (noted && restarting) schedule_restart(container.id, delay_of(container));
}

void Supervisor::schedule_restart(const std::string& id, milliseconds delay) {
    loop_->post([this, id, delay] {
        restarts_[id] = loop_->after(delay, [this, id] {
            // The timer isn't destroyed by its own callback.
            loop_->post([this, id] { restarts_.erase(id); });
            parts_.run_job([this, id] { restart_job(id); });
        });
    });
}

void Supervisor::restart_job(const std::string& id) {
    auto engine = parts_.engines.borrow();
    if (!engine) return;
    const auto container = engine.value()->find(id);
    if (!container || container.value().state != State::kRestarting) return;  // stopped, removed
    const Claim claim(*this, id);
    engine::StartRequest request;
    request.by_policy = true;
    auto machine = engine.value()->start(id, std::move(request));
    if (!machine) {
        log(LogLevel::kWarn, "restart container {}: {}", id, machine.error().message);
        const auto noted = engine.value()->amend(id, [](Container& now) {
            if (now.state == State::kRestarting) now.state = State::kExited;
        });
        static_cast<void>(noted);
        return;
    }
    parts_.events.publish(container_event(machine.value().container, "start"));
    watch(std::move(machine).value());
}

void Supervisor::scan_later() {
    loop_->post([this] {
        scan_ =
            loop_->after(kScanInterval, [this] { parts_.run_job([this] { scan_job(false); }); });
    });
}

void Supervisor::scan_job(bool first) {
    auto engine = parts_.engines.borrow();
    auto containers = engine ? engine.value()->sweep() : std::vector<Container>();
    if (!containers) log(LogLevel::kWarn, "look at containers: {}", containers.error().message);
    for (const Container& container : containers ? containers.value() : std::vector<Container>()) {
        if (container.state == State::kRunning || container.state == State::kPaused) {
            if (is_watched(container.id)) continue;
            auto machine = engine.value()->watch(container.id);
            {
                const MutexLock lock(mutex_);
                if (machine) {
                    unwatched_.erase(container.id);
                } else {
                    unwatched_.insert(container.id);
                }
            }
            if (machine) watch(std::move(machine).value());
        } else if (first && container.state == State::kRestarting) {
            schedule_restart(container.id, kFirstDelay);
        } else if (first && container.state == State::kExited) {
            consider_restart(container);
        }
    }
    if (engine) look_at_unwatched(engine.value().engine());
    scan_later();
}

void Supervisor::look_at_unwatched(engine::Engine& engine) {
    std::set<std::string> ids;
    {
        const MutexLock lock(mutex_);
        ids = unwatched_;
    }
    for (const std::string& id : ids) {
        const auto container = engine.find(id);
        const bool gone = !container && container.error().code == ErrorCode::kNotFound;
        if (!gone && (!container || container.value().state != State::kExited)) continue;
        {
            const MutexLock lock(mutex_);
            if (unwatched_.erase(id) == 0) continue;
        }
        parts_.ends.ended(id, {gone ? 0 : container.value().exit_code, ""});
        if (gone) {
            parts_.on_removed(id);
            continue;
        }
        parts_.on_ended(container.value());
        parts_.events.publish(container_event(
            container.value(), "die", {{"exitCode", std::to_string(container.value().exit_code)}}));
        consider_restart(container.value());
    }
}

}  // namespace drupe::daemon
