// GET /events

#include "api/daemon/events.h"

#include <poll.h>

#include <algorithm>

#include "api/endpoints/system.h"
#include "api/engine/clock.h"
#include "api/engine/time_text.h"

namespace drupe::endpoints {
namespace {

using daemon::Event;

constexpr uint64_t kNano = 1'000'000'000;
const std::vector<std::string_view> kKnown{"config", "container", "daemon",  "event", "image",
                                           "label",  "label!",    "network", "node",  "plugin",
                                           "scope",  "secret",    "service", "type",  "volume"};

Json to_json(const Event& event) {
    Json json;
    if (event.type == "container") {
        json["status"] = event.action;
        json["id"] = event.id;
        const auto image = event.attributes.find("image");
        json["from"] = image == event.attributes.end() ? "" : image->second;
    } else if (event.type == "image") {
        json["status"] = event.action;
        json["id"] = event.id;
    }
    json["Type"] = event.type;
    json["Action"] = event.action;
    json["Actor"] = {{"ID", event.id}, {"Attributes", event.attributes}};
    json["scope"] = "local";
    json["time"] = event.at_ns / kNano;
    json["timeNano"] = event.at_ns;
    return json;
}

bool names(const Event& event, const std::string& type, const std::string& wanted) {
    if (event.type != type) return false;
    const auto name = event.attributes.find("name");
    return event.id == wanted || (wanted.size() >= 4 && event.id.starts_with(wanted)) ||
           (name != event.attributes.end() && name->second == wanted);
}

bool matches(const Event& event, const Filters& filters) {
    const auto object = [&](const char* type) {
        return filters.any(type, [&](const auto& wanted) { return names(event, type, wanted); });
    };
    const auto image = [&](const auto& wanted) {
        const auto from = event.attributes.find("image");
        return names(event, "image", wanted) ||
               (from != event.attributes.end() &&
                (from->second == wanted || from->second.starts_with(wanted + ":")));
    };
    // "exec_start: sh" is an "exec_start".
    const std::string action = event.action.substr(0, event.action.find(':'));
    return filters.labels_match(event.attributes) && object("container") && object("network") &&
           object("volume") && object("daemon") && filters.any("image", image) &&
           filters.any("type", [&](const auto& type) { return type == event.type; }) &&
           filters.any("scope", [](const auto& scope) { return scope == "local"; }) &&
           filters.any("event", [&](const auto& wanted) {
               return wanted == event.action || wanted == action;
           });
}

Result<std::optional<uint64_t>> moment(const Call& call, const char* name) {
    const std::string text = call.text(name);
    if (text.empty()) return std::optional<uint64_t>();
    const auto parsed = engine::parse_moment(text, engine::realtime_ns());
    if (!parsed) {
        return Error{ErrorCode::kInvalid, std::string("parameter ") + name + ": '" +
                                              text.substr(0, 64) + "' is no time"};
    }
    return parsed;
}

/// Milliseconds until then; -1: for ever.
int left(std::optional<uint64_t> until_ns) {
    constexpr uint64_t kLongestMs = 1'000'000'000;
    if (!until_ns) return -1;
    const uint64_t now = engine::realtime_ns();
    if (now >= *until_ns) return 0;
    return static_cast<int>(std::min(kLongestMs, (*until_ns - now) / 1'000'000 + 1));
}

}  // namespace

Status system_events(const Call& call) {
    TRY_ASSIGN(const auto since, moment(call, "since"));
    TRY_ASSIGN(const auto until, moment(call, "until"));
    TRY_ASSIGN(const Filters filters, call.filters(kKnown));
    // The past is only told to who asks for it.
    TRY_ASSIGN(const auto subscription, call.daemon.events.subscribe(since));
    TRY(call.http.begin(200, "application/json"));
    for (;;) {
        while (const auto event = subscription->next()) {
            if (until && event->at_ns > *until) return ok();
            if (!matches(*event, filters)) continue;
            TRY(call.http.write(dump(to_json(*event)) + "\n"));
        }
        if (subscription->overrun()) {
            return call.http.write("{\"error\":\"events were lost: read faster\"}\n");
        }
        const int wait_ms = left(until);
        if (wait_ms == 0) return ok();
        pollfd polls[2]{{subscription->event_fd(), POLLIN, 0},
                        {call.http.client_fd(), POLLRDHUP, 0}};
        ::poll(polls, 2, wait_ms);
        if ((polls[1].revents & (POLLHUP | POLLRDHUP | POLLERR)) != 0) return ok();
        if (polls[0].revents != 0) drain_eventfd(subscription->event_fd());
    }
}

}  // namespace drupe::endpoints
