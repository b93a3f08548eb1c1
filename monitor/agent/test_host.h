#pragma once

#include <chrono>
#include <condition_variable>
#include <future>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <utility>

#include "base/event_loop.h"
#include "monitor/agent/agent_session.h"

namespace drupe::agent {

/// For tests: an event loop on a thread of its own; the test's thread calls into it and waits.
class LoopThread {
  public:
    LoopThread() : loop_(make_event_loop()), thread_([this] { loop_->run(); }) {}
    ~LoopThread() { stop(); }
    void stop() {
        loop_->stop();
        if (thread_.joinable()) thread_.join();
    }
    [[nodiscard]] EventLoop& loop() { return *loop_; }

    /// call()'s result, from the loop's thread.
    template <class Call>
    auto run(Call call) {
        std::packaged_task<decltype(call())()> task(std::move(call));
        auto result = task.get_future();
        loop_->post([&task] { task(); });
        return result.get();
    }

  private:
    std::unique_ptr<EventLoop> loop_;
    std::thread thread_;
};

/// A value that the loop's thread changes and the test's thread waits for.
template <class T>
class Watched {
  public:
    template <class Change>
    void change(const Change& call) {
        {
            const std::lock_guard lock(mutex_);
            call(value_);
        }
        changed_.notify_all();
    }
    /// Whether the value came to satisfy the predicate within the time.
    template <class Predicate>
    [[nodiscard]] bool wait(const Predicate& predicate,
                            std::chrono::seconds time = std::chrono::seconds(20)) {
        std::unique_lock lock(mutex_);
        return changed_.wait_for(lock, time, [&] { return predicate(value_); });
    }
    [[nodiscard]] T get() {
        const std::lock_guard lock(mutex_);
        return value_;
    }

  private:
    std::mutex mutex_;
    std::condition_variable changed_;
    T value_{};
};

/// Collects a stream; takes `room` bytes, then is full.
class Collector final : public OutputSink {
  public:
    struct State {
        std::string bytes;
        bool ended = false;
        std::string error;
    };

    size_t take(std::string_view bytes) override {
        const size_t n = std::min(bytes.size(), room_);
        room_ -= n;
        state_.change([&](State& state) { state.bytes.append(bytes.substr(0, n)); });
        return n;
    }
    void end(Status status) override {
        state_.change([&](State& state) {
            state.ended = true;
            if (!status) state.error = status.error().message;
        });
    }
    void set_room(size_t room) { room_ = room; }  ///< On the loop's thread.
    [[nodiscard]] Watched<State>& state() { return state_; }
    /// All of it, at its end.
    [[nodiscard]] std::string whole() {
        if (!state_.wait([](const State& state) { return state.ended; }))
            return "(no end) " + state_.get().bytes;
        const State state = state_.get();
        return state.error.empty() ? state.bytes : "(" + state.error + ") " + state.bytes;
    }

  private:
    size_t room_ = SIZE_MAX;
    Watched<State> state_;
};

/// What AgentEvents reported.
struct Reported {
    int hellos = 0;
    std::map<uint32_t, protocol::Exited> exits;
    int exit_calls = 0;
    bool halted = false;
    int losses = 0;
    std::string lost;
    ErrorCode lost_code{};
};

inline AgentEvents record_into(Watched<Reported>& to) {
    return {.on_hello = [&](const protocol::Hello&) { to.change([](Reported& r) { ++r.hellos; }); },
            .on_exited =
                [&](const protocol::Exited& exited) {
                    to.change([&](Reported& r) {
                        r.exits[exited.session] = exited;
                        ++r.exit_calls;
                    });
                },
            .on_halted = [&] { to.change([](Reported& r) { r.halted = true; }); },
            .on_lost =
                [&](const Error& error) {
                    to.change([&](Reported& r) {
                        ++r.losses;
                        r.lost = error.message;
                        r.lost_code = error.code;
                    });
                }};
}

}  // namespace drupe::agent
