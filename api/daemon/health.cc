#include "api/daemon/health.h"

#include <poll.h>
#include <unistd.h>

#include <csignal>

#include "api/daemon/container_event.h"
#include "api/daemon/stream_pump.h"
#include "api/engine/clock.h"
#include "api/engine/time_text.h"

namespace drupe::daemon {
namespace {

using engine::Container;
using engine::HealthCheck;
using Json = nlohmann::ordered_json;

constexpr uint64_t kSecond = 1'000'000'000;
constexpr uint64_t kInterval = 30 * kSecond;
constexpr uint64_t kTimeout = 30 * kSecond;
constexpr uint64_t kStartInterval = 5 * kSecond;
constexpr uint32_t kRetries = 3;
constexpr size_t kMaxOutput = 4096;
constexpr size_t kKeptProbes = 5;
constexpr int kTimedOut = -1;

uint64_t or_default(uint64_t value, uint64_t otherwise) {
    return value != 0 ? value : otherwise;
}

std::vector<std::string> argv_of(const HealthCheck& check, const std::vector<std::string>& shell) {
    std::vector<std::string> words(check.test.begin() + 1, check.test.end());
    if (check.test.front() == "CMD") return words;
    std::vector<std::string> argv =
        shell.empty() ? std::vector<std::string>{"/bin/sh", "-c"} : shell;
    argv.push_back(words.front());
    return argv;
}

bool in_start_period(const Container& c, const HealthCheck& check, uint64_t now_ns) {
    return now_ns < c.started_at_ns + check.start_period_ns;
}

/// Reads what comes until the end or the time; false: the time was over.
bool read_output(int fd, uint64_t until_ns, std::string& out) {
    char buffer[4096];
    for (;;) {
        const uint64_t now = engine::monotonic_ns();
        if (now >= until_ns) return false;
        pollfd poll{fd, POLLIN, 0};
        const int ready = ::poll(&poll, 1, static_cast<int>((until_ns - now) / 1'000'000 + 1));
        if (ready < 0 && errno != EINTR) return true;
        if (ready <= 0) continue;
        const ssize_t n = ::read(fd, buffer, sizeof buffer);
        if (n < 0 && (errno == EAGAIN || errno == EINTR)) continue;
        if (n <= 0) return true;
        if (out.size() < kMaxOutput) {
            out.append(buffer, std::min(static_cast<size_t>(n), kMaxOutput - out.size()));
        }
    }
}

}  // namespace

Health::Health(Parts parts) : parts_(std::move(parts)), loop_(make_event_loop()) {
    thread_ = std::thread([this] { loop_->run(); });
}

Health::~Health() {
    loop_->stop();
    thread_.join();
}

void Health::started(const Container& container) {
    const auto& check = container.config.health;
    uint64_t run = 0;
    {
        const MutexLock lock(mutex_);
        checked_.erase(container.id);
        if (!check || check->test.empty() || check->test.front() == "NONE") return;
        run = ++runs_;
        Checked& checked = checked_[container.id];
        checked.check = *check;
        checked.container = container;
        checked.run = run;
    }
    const bool early = check->start_period_ns != 0;
    schedule(container.id, run,
             early ? or_default(check->start_interval_ns, kStartInterval)
                   : or_default(check->interval_ns, kInterval));
}

void Health::ended(const std::string& id) {
    const MutexLock lock(mutex_);
    if (const auto at = checked_.find(id); at != checked_.end()) at->second.running = false;
}

void Health::forget(const std::string& id) {
    const MutexLock lock(mutex_);
    checked_.erase(id);
}

void Health::schedule(const std::string& id, uint64_t run, uint64_t delay_ns) {
    loop_->post([this, id, run, delay_ns] {
        timers_[id] = loop_->after(std::chrono::nanoseconds(delay_ns), [this, id, run] {
            loop_->post([this, id] { timers_.erase(id); });  // not by its own callback
            parts_.run_job([this, id, run] { check_job(id, run); });
        });
    });
}

void Health::check_job(const std::string& id, uint64_t run) {
    Container container;
    HealthCheck check;
    {
        const MutexLock lock(mutex_);
        const auto at = checked_.find(id);
        if (at == checked_.end() || at->second.run != run || !at->second.running) return;
        container = at->second.container;
        check = at->second.check;
    }
    // One that stands still is as healthy as it was.
    if (can_answer(id)) note(id, run, probe(container, check));
    const bool early = in_start_period(container, check, engine::realtime_ns());
    schedule(id, run,
             early ? or_default(check.start_interval_ns, kStartInterval)
                   : or_default(check.interval_ns, kInterval));
}

bool Health::can_answer(const std::string& id) {
    const auto engine = parts_.engines.borrow();
    const auto now = engine ? engine.value()->find(id) : Result<Container>(engine.error());
    return now && now.value().state == engine::State::kRunning;
}

Health::Probe Health::probe(const Container& container, const HealthCheck& check) {
    Probe probe;
    probe.start_ns = engine::realtime_ns();
    const uint64_t until = engine::monotonic_ns() + or_default(check.timeout_ns, kTimeout);
    const auto run = [&]() -> Status {
        TRY_ASSIGN(auto engine, parts_.engines.borrow());
        TRY_ASSIGN(StreamPipes pipes, make_stream_pipes(false, true, false));
        TRY_ASSIGN(pipes.theirs.stderr_fd, pipes.theirs.stdout_fd.duplicate());
        engine::ExecRequest request;
        request.argv = argv_of(check, container.config.shell);
        request.stdio = std::move(pipes.theirs);
        TRY_ASSIGN(engine::ExecSession session, engine->exec(container.id, std::move(request)));
        control::Request wait;
        wait.op = control::Op::kWait;
        wait.session = session.session;
        TRY_ASSIGN(const uint64_t wait_id, session.client.send(std::move(wait)));
        if (!read_output(pipes.pump.from_stdout.get(), until, probe.output)) {
            control::Request kill;
            kill.op = control::Op::kSignal;
            kill.session = session.session;
            kill.signal = SIGKILL;
            kill.all = true;
            static_cast<void>(session.client.call(std::move(kill), std::chrono::seconds(5)));
            probe.exit_code = kTimedOut;
            probe.output = "Health check exceeded timeout";
            return ok();
        }
        TRY_ASSIGN(const control::Reply reply,
                   session.client.receive(wait_id, std::chrono::seconds(10)));
        probe.exit_code = reply.exit ? static_cast<int>(reply.exit->status) : kTimedOut;
        return ok();
    };
    if (auto ran = run(); !ran) {
        probe.exit_code = kTimedOut;
        probe.output = ran.error().message;
    }
    probe.end_ns = engine::realtime_ns();
    return probe;
}

void Health::note(const std::string& id, uint64_t run, Probe probe) {
    std::optional<Event> event;
    {
        const MutexLock lock(mutex_);
        const auto at = checked_.find(id);
        if (at == checked_.end() || at->second.run != run || !at->second.running) return;
        Checked& checked = at->second;
        const std::string before = checked.status;
        if (probe.exit_code == 0) {
            checked.failures = 0;
            checked.status = "healthy";
        } else if (!in_start_period(checked.container, checked.check, probe.start_ns) ||
                   before != "starting") {
            ++checked.failures;
            const uint32_t retries = checked.check.retries != 0 ? checked.check.retries : kRetries;
            if (checked.failures >= retries) checked.status = "unhealthy";
        }
        checked.log.push_back(std::move(probe));
        if (checked.log.size() > kKeptProbes) checked.log.pop_front();
        if (checked.status != before) {
            event = container_event(checked.container, "health_status: " + checked.status);
        }
    }
    if (event) parts_.events.publish(std::move(*event));
}

std::string Health::status(const std::string& id) const {
    const MutexLock lock(mutex_);
    const auto at = checked_.find(id);
    return at == checked_.end() || !at->second.running ? "" : at->second.status;
}

Json Health::json(const std::string& id) const {
    const MutexLock lock(mutex_);
    const auto at = checked_.find(id);
    if (at == checked_.end()) return {};
    Json log = Json::array();
    for (const Probe& probe : at->second.log) {
        log.push_back({{"Start", engine::time_text(probe.start_ns)},
                       {"End", engine::time_text(probe.end_ns)},
                       {"ExitCode", probe.exit_code},
                       {"Output", probe.output}});
    }
    return {{"Status", at->second.running ? at->second.status : "unhealthy"},
            {"FailingStreak", at->second.failures},
            {"Log", log}};
}

}  // namespace drupe::daemon
