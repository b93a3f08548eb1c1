// POST /containers/{id}/wait

#include <poll.h>

#include <array>

#include "api/endpoints/containers.h"

namespace drupe::endpoints {
namespace {

using engine::Container;
using engine::State;

/// Blocks until `over` says so; false: the client has gone.
template <class Over>
bool await(const Call& call, daemon::Ends::Waiter& waiter, Over over) {
    while (!over()) {
        std::array<pollfd, 2> polls{
            {{waiter.event_fd(), POLLIN, 0}, {call.http.client_fd(), POLLRDHUP, 0}}};
        if (::poll(polls.data(), polls.size(), -1) < 0 && errno != EINTR) return false;
        if ((polls[1].revents & (POLLHUP | POLLRDHUP | POLLERR)) != 0) return false;
        if (polls[0].revents != 0) drain_eventfd(waiter.event_fd());
    }
    return true;
}

Status finish(const Call& call, const daemon::End& end) {
    Json error;
    if (!end.error.empty()) error = {{"Message", end.error}};
    Json answer{{"Error", error}, {"StatusCode", end.exit_code}};
    if (!end.marks.empty()) answer["Drupe"] = {{"Marks", end.marks}, {"Counts", end.counts}};
    return call.http.write(dump(answer) + "\n");
}

}  // namespace

Status wait_container(const Call& call) {
    std::string condition = call.text("condition");
    if (condition.empty()) condition = "not-running";
    if (condition != "not-running" && condition != "next-exit" && condition != "removed") {
        return Error{ErrorCode::kInvalid, "invalid condition: \"" + condition.substr(0, 64) + "\""};
    }
    std::optional<Container> container;
    bool gone = false;
    std::unique_ptr<daemon::Ends::Waiter> waiter;
    {
        TRY_ASSIGN(auto engine, call.daemon.engines.borrow());
        TRY_ASSIGN(container, engine->find(call.id()));
        TRY_ASSIGN(waiter, call.daemon.ends.watch(container->id));
        // Looked at again: it may have ended before anybody watched.
        auto now = engine->find(container->id);
        if (now) container = std::move(now).value();
        if (!now && now.error().code != ErrorCode::kNotFound) return now.error();
        gone = !now;
    }
    TRY(call.http.begin(200, "application/json"));
    if (gone) {
        if (const auto end = call.daemon.ends.last(container->id)) return finish(call, *end);
    }
    // One that ran a moment ago and whose row is gone has ended: the supervisor is about to tell.
    const bool over = !engine::is_active(container->state);
    if (over && (gone || condition == "not-running")) {
        return finish(call, {container->exit_code, ""});
    }
    const bool removal = condition == "removed";
    const bool there = await(call, *waiter, [&] {
        return removal ? waiter->removed() : waiter->end().has_value() || waiter->removed();
    });
    if (!there) return ok();
    return finish(call, waiter->end().value_or(daemon::End{container->exit_code, ""}));
}

}  // namespace drupe::endpoints
