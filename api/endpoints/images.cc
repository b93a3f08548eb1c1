// GET /images/json, GET /images/{name...}/json and /history, POST /images/{name...}/tag,
// DELETE /images/{name...}, POST /images/prune

#include "api/endpoints/images.h"

#include <fnmatch.h>

#include <algorithm>

#include "api/endpoints/image_events.h"
#include "api/engine/clock.h"
#include "api/engine/storage.h"
#include "api/engine/time_text.h"
#include "imagefs/oci/reference.h"

namespace drupe::endpoints {
namespace {

using engine::ImageSummary;
using engine::State;

const std::vector<std::string_view> kKnown{"before",    "dangling", "label", "label!",
                                           "reference", "since",    "until"};

/// References name tags; a digest's is RepoDigests'.
Json digests_of(const ImageSummary& image) {
    Json list = Json::array();
    if (image.digest.empty()) return list;
    for (const std::string& reference : image.references) {
        const size_t colon = reference.rfind(':');
        const size_t slash = reference.rfind('/');
        const bool tagged =
            colon != std::string::npos && (slash == std::string::npos || colon > slash);
        const std::string digest =
            reference.substr(0, tagged ? colon : reference.size()) + "@" + image.digest;
        if (std::find(list.begin(), list.end(), digest) == list.end()) list.push_back(digest);
    }
    return list;
}

Json to_json(const ImageSummary& image, int64_t containers) {
    Json labels = image.labels.empty() ? Json() : Json(image.labels);
    return {{"Containers", containers},
            {"Created", image.created_s},
            {"Id", image.id},
            {"Labels", labels},
            {"ParentId", ""},
            {"RepoDigests", digests_of(image)},
            {"RepoTags", image.references},
            {"SharedSize", -1},
            {"Size", image.size_bytes}};
}

/// "name", "name:tag", with * and ?; a name without a tag is all of its tags.
bool matches_reference(const std::string& pattern, const std::string& reference) {
    const auto match = [&](const std::string& text) {
        return ::fnmatch(pattern.c_str(), text.c_str(), FNM_PATHNAME) == 0;
    };
    return match(reference) || match(reference.substr(0, reference.rfind(':')));
}

struct Wanted {
    Filters filters;
    std::optional<bool> dangling;
    int64_t before_s = INT64_MAX;
    int64_t since_s = INT64_MIN;
    int64_t until_s = INT64_MAX;
};

Result<Wanted> read_filters(const Call& call, const std::vector<std::string_view>& known,
                            const std::vector<ImageSummary>& images, engine::Images& store) {
    Wanted wanted;
    TRY_ASSIGN(wanted.filters, call.filters(known));
    TRY_ASSIGN(wanted.dangling, wanted.filters.boolean("dangling"));
    const auto created = [&](const std::string& name) -> Result<int64_t> {
        TRY_ASSIGN(const std::string id, store.id_of(name));
        for (const ImageSummary& image : images) {
            if (image.id == id) return image.created_s;
        }
        return Error{ErrorCode::kNotFound, "No such image: " + name.substr(0, 128)};
    };
    for (const std::string& name : wanted.filters.get("before")) {
        TRY_ASSIGN(wanted.before_s, created(name));
    }
    for (const std::string& name : wanted.filters.get("since")) {
        TRY_ASSIGN(wanted.since_s, created(name));
    }
    for (const std::string& text : wanted.filters.get("until")) {
        const auto moment = engine::parse_moment(text, engine::realtime_ns());
        if (!moment)
            return Error{ErrorCode::kInvalid, "invalid filter 'until=" + text.substr(0, 64) + "'"};
        wanted.until_s = static_cast<int64_t>(*moment / 1'000'000'000);
    }
    return wanted;
}

bool matches(const ImageSummary& image, const Wanted& wanted) {
    if (wanted.dangling && *wanted.dangling != image.references.empty()) return false;
    return image.created_s < wanted.before_s && image.created_s > wanted.since_s &&
           image.created_s <= wanted.until_s && wanted.filters.labels_match(image.labels) &&
           wanted.filters.any("reference", [&](const std::string& pattern) {
               return std::any_of(image.references.begin(), image.references.end(),
                                  [&](const auto& r) { return matches_reference(pattern, r); });
           });
}

std::function<Result<std::vector<engine::ImageUser>>(const std::string&)> users(
    engine::Engine& engine) {
    return [&engine](const std::string& id) -> Result<std::vector<engine::ImageUser>> {
        std::vector<engine::ImageUser> list;
        TRY_ASSIGN(const auto containers, engine.of_image(id));
        for (const engine::Container& c : containers) {
            list.push_back({c.id, engine::is_active(c.state)});
        }
        return list;
    };
}

/// "Untagged: x:1" as {"Untagged": "x:1"}.
Json report_json(const engine::RemoveReport& report) {
    Json list = Json::array();
    for (const std::string& line : report) {
        const size_t colon = line.find(": ");
        if (colon != std::string::npos)
            list.push_back({{line.substr(0, colon), line.substr(colon + 2)}});
    }
    return list;
}

}  // namespace

Status list_images(const Call& call) {
    TRY_ASSIGN(auto engine, call.daemon.engines.borrow());
    TRY_ASSIGN(const auto images, engine.images().list());
    TRY_ASSIGN(const Wanted wanted, read_filters(call, kKnown, images, engine.images()));
    Json list = Json::array();
    for (const ImageSummary& image : images) {
        if (!matches(image, wanted)) continue;
        ImageSummary shown = image;
        if (wanted.filters.has("reference")) {  // only the names that were asked for
            std::erase_if(shown.references, [&](const std::string& reference) {
                return !wanted.filters.any("reference", [&](const std::string& pattern) {
                    return matches_reference(pattern, reference);
                });
            });
        }
        list.push_back(to_json(shown, -1));
    }
    return call.answer(200, list);
}

Status inspect_image(const Call& call) {
    TRY_ASSIGN(auto engine, call.daemon.engines.borrow());
    TRY_ASSIGN(const std::string json, engine.images().inspect(call.path.at("name")));
    return call.answer_text(200, json + "\n");
}

Status image_history(const Call& call) {
    TRY_ASSIGN(auto engine, call.daemon.engines.borrow());
    TRY_ASSIGN(const auto entries, engine.images().history(call.path.at("name")));
    Json list = Json::array();
    for (const engine::HistoryEntry& entry : entries) {
        list.push_back({{"Comment", entry.comment},
                        {"Created", entry.created_s},
                        {"CreatedBy", entry.created_by},
                        {"Id", entry.id},
                        {"Size", entry.size_bytes},
                        {"Tags", entry.tags.empty() ? Json() : Json(entry.tags)}});
    }
    return call.answer(200, list);
}

Status tag_image(const Call& call) {
    const std::string repo = call.text("repo");
    const std::string tag = call.text("tag");
    if (repo.empty()) return Error{ErrorCode::kInvalid, "invalid reference format: repo is empty"};
    const std::string target = tag.empty() ? repo : repo + ":" + tag;
    TRY_ASSIGN(auto engine, call.daemon.engines.borrow());
    TRY(engine.images().tag(call.path.at("name"), target));
    TRY_ASSIGN(const std::string id, engine.images().id_of(call.path.at("name")));
    TRY_ASSIGN(const auto reference, imagefs::oci::Reference::parse(target));
    publish_image(call.daemon, "tag", id, reference.familiar());
    return call.answer(201);
}

Status delete_image(const Call& call) {
    const std::string& name = call.path.at("name");
    TRY_ASSIGN(auto engine, call.daemon.engines.borrow());
    TRY_ASSIGN(const std::string id, engine.images().id_of(name));
    TRY_ASSIGN(const auto report,
               engine.images().remove(name, call.flag("force"), users(engine.engine())));
    for (const std::string& line : report) {
        if (line.starts_with("Untagged: ")) publish_image(call.daemon, "untag", id, id);
        if (line == "Deleted: " + id) publish_image(call.daemon, "delete", id, id);
    }
    return call.answer(200, report_json(report));
}

Status prune_images(const Call& call) {
    TRY_ASSIGN(auto engine, call.daemon.engines.borrow());
    TRY_ASSIGN(const auto images, engine.images().list());
    TRY_ASSIGN(const Wanted asked, read_filters(call, {"dangling", "until", "label", "label!"},
                                                images, engine.images()));
    Wanted wanted = asked;
    const bool dangling_only = wanted.dangling.value_or(true);
    wanted.dangling.reset();
    TRY_ASSIGN(const auto before, engine.images().store().disk_usage());
    Json deleted;
    for (const ImageSummary& image : images) {
        TRY_ASSIGN(const auto containers, engine->of_image(image.id));
        if (!containers.empty() || (dangling_only && !image.references.empty()) ||
            !matches(image, wanted))
            continue;
        std::vector<std::string> names = image.references;
        if (names.empty()) names.push_back(image.id);
        for (const std::string& name : names) {
            const auto report = engine.images().remove(name, true, users(engine.engine()));
            if (!report) break;  // somebody has just used it
            for (const Json& line : report_json(report.value())) deleted.push_back(line);
        }
    }
    // What an earlier removal left, because something was imported just then, goes too.
    TRY(engine.images().store().prune());
    TRY_ASSIGN(const auto after, engine.images().store().disk_usage());
    const uint64_t freed =
        before.total_bytes > after.total_bytes ? before.total_bytes - after.total_bytes : 0;
    return call.answer(200, {{"ImagesDeleted", deleted}, {"SpaceReclaimed", freed}});
}

}  // namespace drupe::endpoints
