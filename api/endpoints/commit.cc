// POST /commit

#include <algorithm>

#include "api/daemon/container_event.h"
#include "api/endpoints/changes.h"
#include "api/endpoints/containers.h"

namespace drupe::endpoints {
namespace {

/// "repo" and "tag" as one name; empty: the image has none.
std::string name_of(const Call& call) {
    const std::string repo = call.text("repo");
    const std::string tag = call.text("tag");
    return repo.empty() || tag.empty() ? repo : repo + ":" + tag;
}

/// A member of a body that is a container's configuration, as instructions; unset: it can't be one.
Result<std::vector<std::string>> override_of(const std::string& name, const nlohmann::json& value) {
    std::vector<std::string> changes;
    const auto quoted = [](const std::string& text) { return nlohmann::json(text).dump(); };
    if (name == "Cmd" && value.is_array()) return std::vector{"CMD " + value.dump()};
    if (name == "Entrypoint" && value.is_array()) return std::vector{"ENTRYPOINT " + value.dump()};
    if (name == "User" && value.is_string()) return std::vector{"USER " + value.get<std::string>()};
    if (name == "WorkingDir" && value.is_string()) {
        return std::vector{"WORKDIR " + value.get<std::string>()};
    }
    if (name == "StopSignal" && value.is_string()) {
        return std::vector{"STOPSIGNAL " + value.get<std::string>()};
    }
    if (name == "Env" && value.is_array()) {
        for (const auto& variable : value) {
            const std::string text = variable.is_string() ? variable.get<std::string>() : "";
            const size_t equals = text.find('=');
            if (equals == std::string::npos || equals == 0) {
                return Error{ErrorCode::kInvalid, "Env: NAME=VALUE is expected"};
            }
            changes.push_back("ENV " + text.substr(0, equals + 1) +
                              quoted(text.substr(equals + 1)));
        }
        return changes;
    }
    if (name == "Labels" && value.is_object()) {
        for (const auto& [label, text] : value.items()) {
            changes.push_back("LABEL " + quoted(label) + "=" + text.dump());
        }
        return changes;
    }
    if (name == "ExposedPorts" && value.is_object()) {
        for (const auto& [port, nothing] : value.items()) changes.push_back("EXPOSE " + port);
        return changes;
    }
    return Error{ErrorCode::kUnsupported, "commit: " + name.substr(0, 64) + " can't be changed"};
}

Result<std::vector<std::string>> overrides(const nlohmann::json& body) {
    std::vector<std::string> changes;
    for (const auto& [name, value] : body.items()) {
        const bool says_nothing = value.is_null() || value == "" || value == false ||
                                  (value.is_structured() && value.empty());
        if (says_nothing) continue;
        TRY_ASSIGN(const auto more, override_of(name, value));
        changes.insert(changes.end(), more.begin(), more.end());
    }
    return changes;
}

/// The label drupe.live=1, which is how Docker's clients can ask.
bool asks_for_memory(const std::vector<std::string>& changes) {
    return std::ranges::any_of(changes, [](const std::string& change) {
        return change == "LABEL drupe.live=1" || change == R"(LABEL "drupe.live"="1")";
    });
}

}  // namespace

Status commit_container(const Call& call) {
    engine::CommitRequest request;
    request.reference = name_of(call);
    request.words.author = call.text("author");
    request.words.comment = call.text("comment");
    request.pause = call.flag("pause", true);
    TRY_ASSIGN(const auto body, call.body());
    TRY_ASSIGN(request.words.changes, overrides(body));
    for (std::string& change : changes_of(call)) request.words.changes.push_back(std::move(change));
    request.live = call.flag("live") || asks_for_memory(request.words.changes);
    TRY_ASSIGN(auto engine, call.daemon.engines.borrow());
    TRY_ASSIGN(const engine::Container container, engine->find(call.text("container")));
    TRY_ASSIGN(const engine::Committed committed, engine->commit(container.id, request));
    call.daemon.events.publish(daemon::container_event(container, "commit",
                                                       {{"comment", request.words.comment},
                                                        {"imageID", committed.image_id},
                                                        {"imageRef", request.reference}}));
    call.daemon.maintenance.ask();
    return call.answer(
        201, {{"Drupe", {{"Consistent", committed.consistent}, {"Marks", committed.marks}}},
              {"Id", committed.image_id}});
}

}  // namespace drupe::endpoints
